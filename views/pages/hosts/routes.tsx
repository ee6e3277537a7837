/** Pages of hosts: the list with the running jobs, and one host with its GPUs, charts and maintenance. */
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
import { timeLeft } from "../jobs/describe.ts";
import { AddHostPage } from "./add.tsx";
import { HostBody, HostPage, type HostProps } from "./host.tsx";
import { HostsBody, HostsPage, type HostsProps, type WorkItem } from "./page.tsx";

const MAX = 100;
const number = (value: unknown) => (typeof value === "number" ? value : null);

const item = (row: JobRow, now: number): WorkItem => ({
  id: row.id,
  name: row.name,
  kind: row.kind,
  state: row.state,
  startedAt: row.startedAt,
  fraction: row.kind === "serve" ? null : number(row.progress.fraction),
  left: timeLeft(row, now),
});

async function propsOf(ctx: Ctx, actor: Actor): Promise<HostsProps> {
  const of = (state: JobRow["state"][]) => listJobs(ctx, actor, { state, limit: MAX });
  return {
    hosts: await listHosts(ctx, actor),
    running: (await of(["starting", "running", "pausing", "stopping"])).map((row) => item(row, ctx.clock.now())),
    waiting: (await of(["queued"])).length,
    admin: actor.role === "admin",
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
const NameForm = v.object({ name: v.optional(nameText(200), "") });
/** Text that may stand in a command line as it is. */
const word = (fallback: string) =>
  v.optional(
    v.pipe(
      v.string(),
      v.maxLength(100),
      v.transform((text) => (/^[A-Za-z0-9][A-Za-z0-9.@_-]*$/.test(text) ? text : fallback)),
    ),
    fallback,
  );
const AddQuery = v.object({ name: word("gpu1"), address: word("lab@10.0.0.5") });
const DONE = {
  ready: "The host is ready.",
  cordoned: "The host gets no new jobs.",
  draining: "The host is draining.",
};

/** The value of a datetime-local field, read as UTC. */
const utc = (text: string) => Date.parse(`${text}Z`);

const CurvesQuery = v.object({
  ...SamplesQuery.entries,
  keys: v.optional(v.pipe(v.string(), v.maxLength(200))),
});

interface Call {
  request: Request;
  actor: Actor;
}
interface OnHost extends Call {
  params: v.InferOutput<typeof HostId>;
}

const pathOf = (id: string) => `/hosts/${encodeURIComponent(id)}`;

async function hostProps(ctx: Ctx, actor: Actor, id: string, hours: number): Promise<HostProps> {
  return { host: await getHost(ctx, actor, id), admin: actor.role === "admin", hours };
}

/** The window of a form, or null to cancel it. @throws AppError `window_invalid` */
function windowOf({ from, until }: v.InferOutput<typeof WindowForm>) {
  if (from === "" && until === "") return null;
  const window = { from: utc(from), until: utc(until) };
  if (Number.isFinite(window.from) && Number.isFinite(window.until)) return window;
  throw new AppError("invalid", "window_invalid", "Enter the start and the end of the window as date and time.");
}

const handlers = (ctx: Ctx) => ({
  async list({ request, actor }: Call) {
    const of = await propsOf(ctx, actor);
    return html(pageOf(ctx, request, actor), <HostsPage {...of} />, {
      fragments: { hosts: () => <HostsBody {...of} /> },
    });
  },
  async show({ request, actor, params, query }: OnHost & { query: v.InferOutput<typeof SamplesQuery> }) {
    const of = await hostProps(ctx, actor, params.id, query.hours);
    return html(pageOf(ctx, request, actor), <HostPage {...of} />, {
      fragments: { host: () => <HostBody {...of} /> },
    });
  },
  async curves({ actor, params, query }: OnHost & { query: v.InferOutput<typeof CurvesQuery> }) {
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
  async setState({ request, actor, params, body }: OnHost & { body: v.InferOutput<typeof StateForm> }) {
    await changeHost(ctx, actor, params.id, { state: body.state });
    return redirect(request, pathOf(params.id), DONE[body.state]);
  },
  async setWindow({ request, actor, params, body }: OnHost & { body: v.InferOutput<typeof WindowForm> }) {
    try {
      const maintenance = windowOf(body);
      await changeHost(ctx, actor, params.id, { maintenance, note: body.note || null });
      return redirect(request, pathOf(params.id), maintenance ? "The window is scheduled." : "The window is canceled.");
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "invalid") throw error;
      const of = { ...(await hostProps(ctx, actor, params.id, 6)), error: error.message };
      return html(pageOf(ctx, request, actor), <HostPage {...of} />, { status: ERROR_TABLE[error.kind].status });
    }
  },
  async setShares({ request, actor, params, body }: OnHost & { body: v.InferOutput<typeof SharesForm> }) {
    await setShares(ctx, actor, body.gpu, body.shares);
    return redirect(request, pathOf(params.id), "Saved.");
  },
  async rename({ request, actor, params, body }: OnHost & { body: v.InferOutput<typeof NameForm> }) {
    await changeHost(ctx, actor, params.id, { name: body.name.trim() || null });
    return redirect(request, pathOf(params.id), "The host is renamed.");
  },
  add({ request, actor, query }: Call & { query: v.InferOutput<typeof AddQuery> }) {
    const { hosts } = ctx.config.provider_settings.docker ?? {};
    const props = {
      name: query.name,
      address: query.address,
      dataDir: ctx.files.root,
      hosts: typeof hosts === "string" ? hosts : "unix:///var/run/docker.sock",
      providers: ctx.config.providers,
      publicUrl: ctx.config.public_url,
    };
    return html(pageOf(ctx, request, actor), <AddHostPage {...props} />);
  },
  async forget({ request, actor, params }: OnHost) {
    await forgetHost(ctx, actor, params.id);
    return redirect(request, "/hosts", "The host was removed.");
  },
});

export const computePages = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "compute.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/hosts", route.list)
    .get("/hosts/add", route.add, { query: AddQuery })
    .post("/hosts/:id/name", route.rename, { params: HostId, body: NameForm })
    .get("/hosts/:id", route.show, { params: HostId, query: SamplesQuery })
    .get("/hosts/:id/curves", route.curves, { params: HostId, query: CurvesQuery })
    .post("/hosts/:id/state", route.setState, { params: HostId, body: StateForm })
    .post("/hosts/:id/maintenance", route.setWindow, { params: HostId, body: WindowForm })
    .post("/hosts/:id/shares", route.setShares, { params: HostId, body: SharesForm })
    .post("/hosts/:id/forget", route.forget, { params: HostId });
};
