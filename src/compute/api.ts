/** GET /v1/hosts and /v1/providers: where work can run. */
import { Elysia } from "elysia";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { listHosts, listProviders } from "./service.ts";

export const computeApi = (ctx: Ctx) =>
  new Elysia({ name: "compute.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/hosts",
      async ({ actor }) => ({ object: "list" as const, data: await listHosts(ctx, actor), has_more: false }),
      { detail: { summary: "Machines work can run on, with load and free slots", tags: ["Hosts"] } },
    )
    .get("/providers", () => ({ object: "list" as const, data: listProviders(ctx), has_more: false }), {
      detail: { summary: "Providers in use", tags: ["Hosts"] },
    });
