/** The queue as people see it: what runs where, what waits for what and until when. */
import { sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { organization } from "../../db/schema/auth.ts";
import { host } from "../../db/schema/hosts.ts";
import { job } from "../../db/schema/jobs.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { plannedMaintenance } from "../../notices/maintenance/current.ts";
import type { MaintenanceRow } from "../../notices/maintenance/model.ts";
import type { JobRow } from "../jobs/model.ts";
import { allowForOthers, MAX_JOBS, type Prediction } from "../scheduler/forecast.ts";
import type { Capacity, Host, Job, Running, WaitCode } from "../scheduler/types.ts";
import { forecastStarts, newestRound, type QueueState } from "./forecasts.ts";
import { invalidateRound, queueCarry } from "./runner.ts";
import { type TeamView, teamsOf } from "./teams.ts";
import { waitMessage } from "./wait-messages.ts";

/** When a waiting job should start. Milliseconds since 1970. */
export interface StartRange {
  earliest: number | null;
  latest: number | null;
  /** Why one of them is unknown. */
  why: string | null;
}

export interface WaitView {
  code: WaitCode;
  message: string;
  until: number | null;
  host: string | null;
  /** Jobs of the actor's organization that hold the capacity it waits for. */
  jobs: string[];
}

export interface WorkView {
  /** Id and name are null for another team's work. */
  id: string | null;
  name: string | null;
  team: string | null;
  own: boolean;
  kind: string;
  priority: number;
  gpus: number;
}
export interface RunningView extends WorkView {
  host: string | null;
  uuids: string[];
  since: number;
  /** Earliest and latest expected end; null = unknown. */
  ends: { earliest: number | null; latest: number | null };
  yielding: boolean;
  deadline: number | null;
  late: boolean;
}
export interface WaitingView extends WorkView {
  position: number;
  since: number;
  waiting: WaitView | null;
  start: StartRange;
  deadline: number | null;
  /** It is expected to end after its deadline. */
  late: boolean;
  notBefore: number | null;
  window: Job["window"];
  /** Its own burst policy; null = as its team does. */
  burst: BurstPolicy | null;
}
export interface HostView {
  id: string;
  name: string;
  provider: string;
  state: string;
  ask: boolean;
  gpus: string[];
  slots: number | null;
}
export interface QueueView {
  now: number;
  hosts: HostView[];
  running: RunningView[];
  waiting: WaitingView[];
  hasMore: boolean;
  total: number;
  own: number;
  /** Maintenance windows that run or are scheduled, the next one first. */
  maintenance: MaintenanceRow[];
  /** The actor's own team; for administrators all teams. */
  teams: TeamView[];
}

function waitView(state: QueueState, one: Job, mine: ReadonlySet<string>, stored: string | null): WaitView | null {
  const wait = state.round.waits.get(one.id);
  if (!wait) return null;
  const hosts = new Map(state.input.capacity.hosts.map((each) => [each.id, each]));
  const { code, until, host: on } = wait;
  return {
    code,
    message: waitMessage(one, wait, hosts, stored, state.input.now),
    until,
    host: on,
    jobs: wait.behind.filter((id) => mine.has(id)),
  };
}

/** Waits that end at a fixed time. */
const FIXED: ReadonlySet<WaitCode> = new Set(["not_before", "window", "maintenance", "retry"]);

function rangeOf(state: QueueState, id: string, found: Prediction | undefined): StartRange {
  const { now } = state.input;
  const wait = state.round.waits.get(id);
  // It starts in this round.
  if (!wait) return { earliest: now, latest: now, why: null };
  const prediction = found && allowForOthers(found, now, wait.code);
  if (prediction) {
    // A prediction may be a little older than the round, and must not contradict it.
    const least = FIXED.has(wait.code) ? (wait.until ?? 0) : 0;
    const after = (at: number | null) => (at === null ? null : Math.max(at, least));
    return { earliest: after(prediction.low), latest: after(prediction.high), why: prediction.why };
  }
  const far = state.round.order.indexOf(id) >= MAX_JOBS;
  const why = far
    ? "Too many jobs are ahead of it for a forecast."
    : "The job was queued just now. The forecast follows in a moment.";
  return { earliest: null, latest: null, why };
}

/** Whether a job misses its deadline even with its earliest start and its shortest run. */
function isLate({ deadline, estimate }: Job, start: StartRange, now: number): boolean {
  return deadline !== null && (start.earliest ?? now) + estimate.low > deadline;
}

export interface QueueFacts {
  waiting: WaitView;
  start: StartRange;
  position: number;
  late: boolean;
}

/** Whether `actor` sees more of a job than its size: it is the actor's own team's, or the actor is an administrator. */
const sees = (actor: Actor, one: Job) => one.team === actor.org || actor.role === "admin";

/** What a waiting job waits for and when it should start; null for jobs that do not wait. */
export async function queueFacts(ctx: Ctx, actor: Actor, row: JobRow): Promise<QueueFacts | null> {
  if (row.state !== "queued") return null;
  let state = await newestRound(ctx);
  if (!state.input.queued.some((each) => each.id === row.id)) {
    // It was queued after the newest round.
    const carry = queueCarry(ctx);
    carry.changed.add(row.id);
    invalidateRound(carry);
    state = await newestRound(ctx);
  }
  const one = state.input.queued.find((each) => each.id === row.id);
  if (!one) return null;
  const jobs = [...state.input.running.map((each) => each.job), ...state.input.queued];
  const mine = new Set(jobs.filter((each) => sees(actor, each)).map((each) => each.id));
  const waiting = waitView(state, one, mine, row.progress.waiting ?? null);
  if (!waiting) return null;
  const start = rangeOf(state, row.id, (await forecastStarts(ctx, state, row.id)).get(row.id));
  const late = isLate(one, start, state.input.now);
  return { waiting, start, position: state.round.order.indexOf(row.id) + 1, late };
}

async function namesOf(ctx: Ctx, ids: string[]): Promise<Map<string, { name: string; waiting: string | null }>> {
  const rows = await ctx.db
    .select({ id: job.id, name: job.name, waiting: sql<string | null>`json_extract(${job.progress}, '$.waiting')` })
    .from(job)
    .where(sql`${job.id} in (select value from json_each(${sqlJson(ids)}))`);
  return new Map(rows.map((row) => [row.id, row]));
}

/** Names for ids: of jobs with the reason stored on their row, of teams, and of hosts. */
async function readNames(ctx: Ctx, jobs: string[]) {
  const [works, teams, hosts] = await Promise.all([
    namesOf(ctx, jobs),
    ctx.db.select({ id: organization.id, name: organization.name }).from(organization),
    ctx.db.select({ id: host.id, name: sql<string>`coalesce(${host.label}, ${host.name})` }).from(host),
  ]);
  const byId = (rows: { id: string; name: string }[]) => new Map(rows.map((row) => [row.id, row.name]));
  return { works, teams: byId(teams), hosts: byId(hosts) };
}
type Names = Awaited<ReturnType<typeof readNames>>;

function workView(actor: Actor, one: Job, { works, teams }: Names): WorkView {
  const named = sees(actor, one)
    ? { id: one.id, name: works.get(one.id)?.name ?? one.id, team: teams.get(one.team) ?? one.team }
    : { id: null, name: null, team: null };
  return {
    ...named,
    own: one.team === actor.org,
    kind: one.kind,
    priority: one.priority,
    gpus: one.wants.gpus,
  };
}

function hostView(one: Host, { pools }: Capacity, { hosts }: Names): HostView {
  return {
    id: one.id,
    name: hosts.get(one.id) ?? (one.ask ? one.provider : "This machine"),
    provider: one.provider,
    state: one.state,
    ask: one.ask,
    gpus: one.gpus.map((gpu) => gpu.uuid),
    slots: one.gpus.length === 0 && one.pool ? (pools[one.pool]?.train ?? null) : null,
  };
}

/** The whole queue. Members see only the size of other teams' work; administrators see everything. */
export async function viewQueue(
  ctx: Ctx,
  actor: Actor,
  query: { limit: number; after?: string; mine?: boolean },
): Promise<QueueView> {
  const state = await newestRound(ctx);
  const { input, round } = state;
  const jobs = new Map(input.queued.map((one) => [one.id, one]));
  const position = new Map(round.order.map((id, at) => [id, at + 1]));
  const { after = "0" } = query;
  const seen = /^\d+$/.test(after) ? Number(after) : (position.get(after) ?? 0);
  const rest = round.order.slice(seen).filter((id) => !query.mine || jobs.get(id)?.team === actor.org);
  const shown = rest.slice(0, query.limit);
  const running = input.running.filter(
    (one) => one.hostId !== null || one.gpus.length > 0 || one.job.team === actor.org,
  );
  const [names, forecast] = await Promise.all([
    readNames(ctx, [...shown, ...running.map((one) => one.job.id)]),
    forecastStarts(ctx, state),
  ]);
  const all = [...jobs.values(), ...running.map((one) => one.job)];
  const mine = new Set(all.filter((one) => sees(actor, one)).map((one) => one.id));
  const waitingView = (one: Job): WaitingView => {
    const start = rangeOf(state, one.id, forecast.get(one.id));
    return {
      ...workView(actor, one, names),
      position: position.get(one.id) ?? 0,
      since: one.queuedAt,
      start,
      deadline: one.deadline,
      late: isLate(one, start, input.now),
      waiting: waitView(state, one, mine, names.works.get(one.id)?.waiting ?? null),
      notBefore: one.startAfter,
      burst: one.policy ?? null,
      window: one.window,
    };
  };
  return {
    now: input.now,
    hosts: input.capacity.hosts.map((one) => hostView(one, input.capacity, names)),
    running: running.map((one) => ({ ...workView(actor, one.job, names), ...runningView(one, input.now) })),
    waiting: shown.flatMap((id) => jobs.get(id) ?? []).map(waitingView),
    hasMore: rest.length > query.limit,
    total: round.order.length,
    own: [...jobs.values()].filter((one) => one.team === actor.org).length,
    maintenance: await plannedMaintenance(ctx),
    teams: await teamsOf(ctx, actor, input, names.teams),
  };
}

function runningView(one: Running, now: number) {
  const serve = one.job.kind === "serve";
  const { deadline } = one.job;
  const ends = {
    earliest: serve || (one.left.low === 0 && one.left.high === null) ? null : now + one.left.low,
    latest: one.left.high === null ? null : now + one.left.high,
  };
  return {
    host: one.hostId,
    uuids: [...one.gpus],
    since: one.startedAt,
    yielding: one.preempting,
    ends,
    deadline,
    late: deadline !== null && (ends.earliest ?? now) > deadline,
  };
}
