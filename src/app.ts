/** The only place where rooms, providers, clock and database are wired together. */
import { Elysia } from "elysia";
import type { Ctx } from "./ctx.ts";
import { errors } from "./http/errors.ts";
import { session } from "./http/session.ts";

/** The HTTP application for `ctx`. */
export function createApp(ctx: Ctx) {
  return new Elysia({ name: "finetune-lab" })
    .use(errors(ctx))
    .use(session(ctx))
    .get("/healthz", () => ({ status: "ok" }));
}
