/** The queue as people see it: who runs where, who waits for what and from when on; and what teams are due. */
import { eq, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { organization } from "../../db/schema/auth.ts";
import { host } from "../../db/schema/hosts.ts";
import { job } from "../../db/schema/jobs.ts";
import { teamShare } from "../../db/schema/queue.ts";
import { notFound } from "../../errors.ts";
import type { JobRow } from "../jobs/model.ts";
import { allowForOthers, MAX_JOBS, type Prediction } from "../scheduler/forecast.ts";
import type { Input, Job, Running, WaitCode } from "../scheduler/types.ts";
import { foretell, type Known, newest } from "./forecasts.ts";
import type { ShareChange } from "./model.ts";
import { queueCarry, unsettle } from "./runner.ts";
import { waitWords } from "./wait-messages.ts";

/** When a waiting job should begin. Milliseconds since 1970. */
export interface StartRange {
  earliest: number | null;
  latest: number | null;
  /** Why one of them is not known. */
  why: string | null;
}

export interface WaitView {
  code: WaitCode;
  message: string;
  until: number | null;
  host: string | null;
  /** Jobs of the asker's organization that hold what it waits for. */
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
  /** When it should end, at the earliest and at the latest; null = not known. */
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
  /** It will be over after its deadline, as far as can be told. */
  late: boolean;
  notBefore: number | null;
  window: Job["window"];
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
export interface TeamView {
  id: string;
  name: string;
  weight: number;
  used: number;
  usedThisMonth: number;
  maxGpus: number | null;
  monthGpuHours: number | null;
  gpusNow: number;
  running: number;
  waiting: number;
}
export interface QueueView {
  now: number;
  hosts: HostView[];
  running: RunningView[];
  waiting: WaitingView[];
  hasMore: boolean;
  total: number;
  own: number;
  /** The asker's team; for administrators all that run or wait. */
  teams: TeamView[];
}

function waitView(state: Known, one: Job, mine: ReadonlySet<string>, told: string | null): WaitView | null {
  const wait = state.round.waits.get(one.id);
  if (!wait) return null;
  const hosts = new Map(state.input.capacity.hosts.map((each) => [each.id, each]));
  const { code, until, host: on } = wait;
  return {
    code,
    message: waitWords(one, wait, hosts, told),
    until,
    host: on,
    jobs: wait.behind.filter((id) => mine.has(id)),
  };
}

/** Waits that nothing shortens. */
const FIXED: ReadonlySet<WaitCode> = new Set(["not_before", "window", "retry"]);

function rangeOf(state: Known, id: string, found: Prediction | undefined): StartRange {
  const { now } = state.input;
  const wait = state.round.waits.get(id);
  // Decided to begin in this round.
  if (!wait) return { earliest: now, latest: now, why: null };
  const prediction = found && allowForOthers(found, now, wait.code);
  if (prediction) {
    // A prediction may be a little older than the round: it does not contradict it.
    const least = FIXED.has(wait.code) ? (wait.until ?? 0) : 0;
    const after = (at: number | null) => (at === null ? null : Math.max(at, least));
    return { earliest: after(prediction.low), latest: after(prediction.high), why: prediction.why };
  }
  const far = state.round.order.indexOf(id) >= MAX_JOBS;
  const why = far ? "Too many jobs are before it to say." : "It came just now: this is known in a moment.";
  return { earliest: null, latest: null, why };
}

/** Whether it cannot be over by its deadline, even if it begins and ends as early as it may. */
function isLate({ deadline, estimate }: Job, start: StartRange, now: number): boolean {
  return deadline !== null && (start.earliest ?? now) + estimate.low > deadline;
}

export interface QueueFacts {
  waiting: WaitView;
  start: StartRange;
  position: number;
  late: boolean;
}

/** Other teams' work is known by its size alone, except to administrators. */
const sees = (actor: Actor, one: Job) => one.team === actor.org || actor.role === "admin";

/** What one waiting job waits for, and when it should begin; null for jobs that do not wait. */
export async function queueFacts(ctx: Ctx, actor: Actor, row: JobRow): Promise<QueueFacts | null> {
  if (row.state !== "queued") return null;
  let state = await newest(ctx);
  if (!state.input.queued.some((each) => each.id === row.id)) {
    // It came after the newest round.
    const carry = queueCarry(ctx);
    carry.changed.add(row.id);
    unsettle(carry);
    state = await newest(ctx);
  }
  const one = state.input.queued.find((each) => each.id === row.id);
  if (!one) return null;
  const jobs = [...state.input.running.map((each) => each.job), ...state.input.queued];
  const mine = new Set(jobs.filter((each) => sees(actor, each)).map((each) => each.id));
  const waiting = waitView(state, one, mine, row.progress.waiting ?? null);
  if (!waiting) return null;
  const start = rangeOf(state, row.id, (await foretell(ctx, state, row.id)).get(row.id));
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

/** The whole queue; of other teams' work only what it takes is told, except to administrators. */
export async function viewQueue(
  ctx: Ctx,
  actor: Actor,
  query: { limit: number; after?: string; mine?: boolean },
): Promise<QueueView> {
  const state = await newest(ctx);
  const { input, round } = state;
  const jobs = new Map(input.queued.map((one) => [one.id, one]));
  const place = new Map(round.order.map((id, at) => [id, at + 1]));
  const { after = "0" } = query;
  const seen = /^\d+$/.test(after) ? Number(after) : (place.get(after) ?? 0);
  const rest = round.order.slice(seen).filter((id) => !query.mine || jobs.get(id)?.team === actor.org);
  const shown = rest.slice(0, query.limit);
  const living = input.running.filter(
    (one) => one.hostId !== null || one.gpus.length > 0 || one.job.team === actor.org,
  );
  const [names, orgs, hostNames, foretold] = await Promise.all([
    namesOf(ctx, [...shown, ...living.map((one) => one.job.id)]),
    ctx.db.select({ id: organization.id, name: organization.name }).from(organization),
    ctx.db.select({ id: host.id, name: host.name }).from(host),
    foretell(ctx, state),
  ]);
  const teamName = new Map(orgs.map((one) => [one.id, one.name]));
  const work = (one: Job): WorkView => ({
    ...(sees(actor, one)
      ? { id: one.id, name: names.get(one.id)?.name ?? one.id, team: teamName.get(one.team) ?? one.team }
      : { id: null, name: null, team: null }),
    own: one.team === actor.org,
    kind: one.kind,
    priority: one.priority,
    gpus: one.wants.gpus,
  });
  const all = [...jobs.values(), ...living.map((one) => one.job)];
  const mine = new Set(all.filter((one) => sees(actor, one)).map((one) => one.id));
  const named = new Map(hostNames.map((one) => [one.id, one.name]));
  return {
    now: input.now,
    hosts: input.capacity.hosts.map((one) => ({
      id: one.id,
      name: named.get(one.id) ?? (one.ask ? one.provider : "This machine"),
      provider: one.provider,
      state: one.state,
      ask: one.ask,
      gpus: one.gpus.map((card) => card.uuid),
      slots: one.gpus.length === 0 && one.pool ? (input.capacity.pools[one.pool]?.train ?? null) : null,
    })),
    running: living.map((one) => ({ ...work(one.job), ...runningView(one, input.now) })),
    waiting: shown.flatMap((id) => {
      const one = jobs.get(id);
      if (!one) return [];
      const start = rangeOf(state, id, foretold.get(id));
      return {
        ...work(one),
        position: place.get(id) ?? 0,
        since: one.queuedAt,
        start,
        deadline: one.deadline,
        late: isLate(one, start, input.now),
        waiting: waitView(state, one, mine, names.get(id)?.waiting ?? null),
        notBefore: one.startAfter,
        window: one.window,
      };
    }),
    hasMore: rest.length > query.limit,
    total: round.order.length,
    own: [...jobs.values()].filter((one) => one.team === actor.org).length,
    teams: await teamsOf(ctx, actor, input, teamName),
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

async function teamsOf(ctx: Ctx, actor: Actor, input: Input, names: ReadonlyMap<string, string>): Promise<TeamView[]> {
  const shares = new Map((await ctx.db.select().from(teamShare)).map((row) => [row.org, row]));
  const ids = new Set([actor.org, ...(actor.role === "admin" ? [...names.keys()] : [])].filter((id) => names.has(id)));
  const teams = new Map(input.teams.map((team) => [team.id, team]));
  return [...ids].map((id) => {
    const team = teams.get(id);
    const running = input.running.filter((one) => one.job.team === id);
    return {
      id,
      name: names.get(id) ?? id,
      weight: shares.get(id)?.weight ?? 1,
      used: team?.used ?? 0,
      usedThisMonth: team?.usedThisMonth ?? 0,
      maxGpus: shares.get(id)?.maxGpus ?? null,
      monthGpuHours: shares.get(id)?.monthGpuHours ?? null,
      gpusNow: running.reduce((sum, one) => sum + one.job.wants.gpus, 0),
      running: running.length,
      waiting: input.queued.filter((one) => one.team === id).length,
    };
  });
}

/** Says what a team is due and may use. Administrators only; audited. */
export async function setShare(ctx: Ctx, actor: Actor, org: string, change: ShareChange): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
    if (!found) throw notFound("organization", org.slice(0, 100));
    const set = {
      ...(change.weight === undefined ? {} : { weight: change.weight }),
      ...(change.max_gpus === undefined ? {} : { maxGpus: change.max_gpus }),
      ...(change.gpu_hours_per_month === undefined ? {} : { monthGpuHours: change.gpu_hours_per_month }),
      updatedAt: ctx.clock.now(),
    };
    await tx
      .insert(teamShare)
      .values({ org, ...set })
      .onConflictDoUpdate({ target: teamShare.org, set });
    await audit(tx, ctx, actor, "team.share", org, { ...change });
  });
  unsettle(queueCarry(ctx));
  ctx.bus.emit("hosts.changed", { ids: [] });
}
