/** GET /v1/hosts and /v1/providers: where work can run, how it does, and an administrator's switches. */
import { Elysia } from "elysia";
import { ChangeGpu, ChangeHost, GpuId, HostId, Hours } from "../compute/hosts/model.ts";
import { changeHost, forgetHost, getHost, listHosts, readSamples, setShares } from "../compute/hosts/service.ts";
import { listProviders } from "../compute/providers/registry.ts";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";

const tags = ["Hosts"];

export const computeApi = (ctx: Ctx) =>
  new Elysia({ name: "compute.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get(
      "/hosts",
      async ({ actor }) => ({ object: "list" as const, data: await listHosts(ctx, actor), has_more: false }),
      { detail: { summary: "Machines work can run on, with their GPUs, load and free room", tags } },
    )
    .get("/hosts/:id", async ({ actor, params }) => getHost(ctx, actor, params.id), {
      params: HostId,
      detail: { summary: "Retrieve a host", tags },
    })
    .post("/hosts/:id", async ({ actor, params, body }) => changeHost(ctx, actor, params.id, body), {
      params: HostId,
      body: ChangeHost,
      detail: { summary: "Cordon, drain or take up a host, or set its maintenance window (administrators)", tags },
    })
    .delete(
      "/hosts/:id",
      async ({ actor, params }) => {
        await forgetHost(ctx, actor, params.id);
        return { object: "host" as const, id: params.id, deleted: true };
      },
      { params: HostId, detail: { summary: "Remove a host that is no more (administrators)", tags } },
    )
    .get(
      "/hosts/:id/samples",
      async ({ actor, params, query }) => ({
        object: "list" as const,
        data: await readSamples(ctx, actor, params.id, query.gpu ?? null, query.hours),
        has_more: false,
      }),
      {
        params: HostId,
        query: Hours,
        detail: { summary: "Utilization, memory, temperature and power over time", tags },
      },
    )
    .post(
      "/gpus/:uuid",
      async ({ actor, params, body }) => {
        await setShares(ctx, actor, params.uuid, body.shares);
        return { object: "gpu" as const, uuid: params.uuid, shares: body.shares };
      },
      {
        params: GpuId,
        body: ChangeGpu,
        detail: { summary: "Say how many jobs may share a GPU (administrators)", tags },
      },
    )
    .get("/providers", () => ({ object: "list" as const, data: listProviders(ctx), has_more: false }), {
      detail: { summary: "Providers in use", tags },
    });
