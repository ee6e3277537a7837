/** Pages of hosts: all of them with what runs, and one with its cards, curves and switches. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { HostId, SamplesQuery } from "../../../src/compute/hosts/model.ts";
import {
  changeHost,
  forgetHost,
  getHost,
  listHosts,
  readSamples,
  setShares,
} from "../../../src/compute/hosts/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { nameText } from "../../../src/lib/text/names.ts";
import { listJobs } from "../../../src/training/jobs/list.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { HostBody, HostPage, type HostProps } from "./host.tsx";
import { HostsBody, HostsPage, type HostsProps, type WorkItem } from "./page.tsx";

const MAX = 100;
const number = (value: unknown) => (typeof value === "number" ? value : null);

const item = (row: JobRow): WorkItem => ({
  id: row.id,
  name: row.name,
  kind: row.kind,
  state: row.state,
  startedAt: row.startedAt,
  fraction: row.kind === "serve" ? null : number(row.progress.fraction),
  etaS: number(row.progress.eta_s),
});

async function propsOf(ctx: Ctx, actor: Actor): Promise<HostsProps> {
  const of = (state: JobRow["state"][]) => listJobs(ctx, actor, { state, limit: MAX });
  return {
    hosts: await listHosts(ctx, actor),
    running: (await of(["starting", "running", "pausing", "stopping"])).map(item),
    waiting: (await of(["queued"])).length,
  };
}

const StateForm = v.object({ state: v.picklist(["ready", "cordoned", "draining"]) });
const moment = v.optional(v.pipe(v.string(), v.maxLength(40)), "");
const WindowForm = v.object({
  from: moment,
  until: moment,
  note: v.optional(nameText(200), ""),
});
const SharesForm = v.object({
  gpu: v.pipe(v.string(), v.maxLength(100)),
  shares: v.pipe(
    v.string(),
    v.regex(/^\d{1,2}$/, "must be a whole number"),
    v.transform(Number),
    v.minValue(1),
    v.maxValue(16),
  ),
});
const DONE = { ready: "It takes work again.", cordoned: "It takes no new work.", draining: "It is being drained." };

/** A time as a datetime-local field gives it, read as UTC. */
const utc = (text: string) => Date.parse(`${text}Z`);

export const computePages = (ctx: Ctx) => {
  const hostProps = async (actor: Actor, id: string, hours: number): Promise<HostProps> => ({
    host: await getHost(ctx, actor, id),
    admin: actor.role === "admin",
    hours,
  });
  const pathOf = (id: string) => `/hosts/${encodeURIComponent(id)}`;

  return new Elysia({ name: "compute.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/hosts", async ({ request, actor }) => {
      const of = await propsOf(ctx, actor);
      return html(pageOf(ctx, request, actor), <HostsPage {...of} />, {
        fragments: { hosts: () => <HostsBody {...of} /> },
      });
    })
    .get(
      "/hosts/:id",
      async ({ request, actor, params, query }) => {
        const of = await hostProps(actor, params.id, query.hours);
        return html(pageOf(ctx, request, actor), <HostPage {...of} />, {
          fragments: { host: () => <HostBody {...of} /> },
        });
      },
      { params: HostId, query: SamplesQuery },
    )
    .get(
      "/hosts/:id/curves",
      async ({ actor, params, query }) => {
        const points = await readSamples(ctx, actor, params.id, query.gpu ?? null, query.hours);
        const curve = (read: (point: (typeof points)[number]) => number | null) => ({
          points: points.map((point) => [Math.round(point.at / 1000), read(point)]),
        });
        return {
          series: {
            utilization: curve((point) => (point.utilization === null ? null : point.utilization / 100)),
            memory_used_mb: curve((point) => point.memory_used_mb),
            temperature_c: curve((point) => point.temperature_c),
            power_w: curve((point) => point.power_w),
          },
        };
      },
      {
        params: HostId,
        query: v.object({ ...SamplesQuery.entries, keys: v.optional(v.pipe(v.string(), v.maxLength(200))) }),
      },
    )
    .post(
      "/hosts/:id/state",
      async ({ request, actor, params, body }) => {
        await changeHost(ctx, actor, params.id, { state: body.state });
        return redirect(request, pathOf(params.id), DONE[body.state]);
      },
      { params: HostId, body: StateForm },
    )
    .post(
      "/hosts/:id/maintenance",
      async ({ request, actor, params, body }) => {
        const none = body.from === "" && body.until === "";
        const maintenance = none ? null : { from: utc(body.from), until: utc(body.until) };
        try {
          if (maintenance && !(Number.isFinite(maintenance.from) && Number.isFinite(maintenance.until)))
            throw new AppError("invalid", "window_invalid", "Give both ends of the window as date and time.");
          await changeHost(ctx, actor, params.id, { maintenance, note: body.note || null });
        } catch (error) {
          if (!(error instanceof AppError) || error.kind !== "invalid") throw error;
          const of = { ...(await hostProps(actor, params.id, 6)), error: error.message };
          return html(pageOf(ctx, request, actor), <HostPage {...of} />, { status: ERROR_TABLE[error.kind].status });
        }
        return redirect(request, pathOf(params.id), none ? "The window is taken back." : "The window is planned.");
      },
      { params: HostId, body: WindowForm },
    )
    .post(
      "/hosts/:id/shares",
      async ({ request, actor, params, body }) => {
        await setShares(ctx, actor, body.gpu, body.shares);
        return redirect(request, pathOf(params.id), "Saved.");
      },
      { params: HostId, body: SharesForm },
    )
    .post(
      "/hosts/:id/forget",
      async ({ request, actor, params }) => {
        await forgetHost(ctx, actor, params.id);
        return redirect(request, "/hosts", "Removed.");
      },
      { params: HostId },
    );
};
