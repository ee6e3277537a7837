/** /v1/hosts, /v1/gpus and /v1/providers: where jobs can run, the state of these machines, and their administration. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import {
  ChangeGpu,
  ChangeHost,
  DeletedHost,
  GpuId,
  GpuShares,
  HostId,
  HostView,
  SamplePoint,
  SamplesQuery,
} from "../compute/hosts/model.ts";
import { changeHost, forgetHost, getHost, listHosts, readSamples, setShares } from "../compute/hosts/service.ts";
import { ProviderView } from "../compute/providers/model.ts";
import { listProviders } from "../compute/providers/registry.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { wholeList, wholeListOf } from "../lib/page.ts";

const tags = ["Hosts"];

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof HostId>;
}

const handlers = (ctx: Ctx) => ({
  list: async ({ actor }: { actor: Actor }) => wholeList(await listHosts(ctx, actor)),
  get: ({ actor, params }: Call) => getHost(ctx, actor, params.id),
  change: ({ actor, params, body }: Call & { body: v.InferOutput<typeof ChangeHost> }) =>
    changeHost(ctx, actor, params.id, body),
  async delete({ actor, params }: Call): Promise<v.InferOutput<typeof DeletedHost>> {
    await forgetHost(ctx, actor, params.id);
    return { object: "host", id: params.id, deleted: true };
  },
  samples: async ({ actor, params, query }: Call & { query: v.InferOutput<typeof SamplesQuery> }) =>
    wholeList(await readSamples(ctx, actor, params.id, query.gpu ?? null, query.hours)),
  async setShares(call: {
    actor: Actor;
    params: v.InferOutput<typeof GpuId>;
    body: v.InferOutput<typeof ChangeGpu>;
  }): Promise<v.InferOutput<typeof GpuShares>> {
    const { uuid } = call.params;
    const { shares } = call.body;
    await setShares(ctx, call.actor, uuid, shares);
    return { object: "gpu", uuid, shares };
  },
  providers: () => wholeList(listProviders(ctx)),
});

export const computeApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "compute.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/hosts", route.list, {
      detail: {
        tags,
        summary: "List hosts with their GPUs, load and free capacity",
        responses: answers(wholeListOf(HostView)),
      },
    })
    .get("/hosts/:id", route.get, {
      params: HostId,
      detail: { tags, summary: "Retrieve a host", responses: answers(HostView) },
    })
    .post("/hosts/:id", route.change, {
      params: HostId,
      body: ChangeHost,
      detail: {
        tags,
        summary: "Cordon, drain, resume or rename a host, or set its maintenance window (administrators)",
        responses: answers(HostView),
      },
    })
    .delete("/hosts/:id", route.delete, {
      params: HostId,
      detail: {
        tags,
        summary: "Remove a host that no longer exists (administrators)",
        responses: answers(DeletedHost),
      },
    })
    .get("/hosts/:id/samples", route.samples, {
      params: HostId,
      query: SamplesQuery,
      detail: {
        tags,
        summary: "Utilization, memory, temperature and power over time",
        responses: answers(wholeListOf(SamplePoint)),
      },
    })
    .post("/gpus/:uuid", route.setShares, {
      params: GpuId,
      body: ChangeGpu,
      detail: {
        tags,
        summary: "Set how many jobs can share a GPU (administrators)",
        responses: answers(GpuShares),
      },
    })
    .get("/providers", route.providers, {
      detail: { tags, summary: "List providers", responses: answers(wholeListOf(ProviderView)) },
    });
};
