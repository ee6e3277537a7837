/**
 * Reads the scheduler's input from the database: capacity, running work, the queue and the usage of teams. A long queue
 * is mirrored in memory, and only its changes are read.
 */
import { sql } from "drizzle-orm";
import { type Held, heldMessage, readHeld } from "../../accounts/holds/service.ts";
import { budgetMarks, overLimit } from "../../billing/budgets/limits.ts";
import { stillShort } from "../../billing/budgets/reserve.ts";
import { lateWork } from "../../billing/late/state.ts";
import { ownGpuCosts, stoppedProviders } from "../../compute/limits/service.ts";
import type { JobKind, Need } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { gpuAllocation } from "../../db/schema/hosts.ts";
import { attempt, job, teamShare } from "../../db/schema/jobs.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { plannedMaintenance } from "../../notices/maintenance/current.ts";
import { checkpointAheadS } from "../attempts/budget.ts";
import { closedProviders } from "../attempts/closed.ts";
import { installationBurst } from "../jobs/placement.ts";
import { queuedHere } from "../jobs/stays-local.ts";
import { timeLeftMs } from "../jobs/time-left.ts";
import { CPU_WEIGHT } from "../scheduler/order.ts";
import {
  type Capacity,
  type Input,
  type Job,
  type Maintenance,
  type Reservation,
  type Round,
  type Running,
  type Span,
  shapeOf,
  UNKNOWN,
  type Wants,
} from "../scheduler/types.ts";
import { burstMarkOf, type Verdict } from "./burst.ts";
import { readCapacity, type Stopped } from "./capacity.ts";
import { decayed, monthOf, newUsageBook, readUsage, type UsageBook } from "./usage.ts";

const HOUR = 3_600_000;
/** A queue of this length or more is read in full every `READ_ALL_MS`, and by its changes in between. */
const MIRROR_FROM = 500;
const READ_ALL_MS = 30_000;
/**
 * How long a job waits for the work of its last attempt to terminate. After that it starts even if the provider cannot
 * confirm it: the token of the old attempt is refused anyway.
 */
const GONE_WAIT_MS = 600_000;
/** How long ended work may take to terminate. */
const LEAVING: Span = { low: 0, high: 60_000 };

/** A job as the mirror has it; `held` is decided in each round. */
interface QueuedJob extends Job {
  createdBy: string;
}

/** State that the scheduler carries from round to round; a restart may lose it. */
export interface QueueCarry {
  queued: Map<string, QueuedJob>;
  /** Jobs to read again. */
  changed: Set<string>;
  readAllAt: number;
  usage: UsageBook;
  reservations: Reservation[];
  /** Jobs that no provider that is asked for offers can ever run, and those that none of own machines can. */
  noRent: Set<string>;
  noOwnAsk: Set<string>;
  /** What burst policies decided for waiting jobs. */
  verdicts: Map<string, Verdict>;
  /** Burst policies of teams that have one. */
  policies: ReadonlyMap<string, BurstPolicy>;
  last: { input: Input; round: Round } | null;
  /** Incremented by every change that may lead to a different round. */
  version: number;
  /** States of the hosts in the last round: a host becomes unreachable without any event. */
  states: string;
}

export const newQueueCarry = (): QueueCarry => ({
  queued: new Map(),
  changed: new Set(),
  readAllAt: Number.NEGATIVE_INFINITY,
  usage: newUsageBook(),
  reservations: [],
  noRent: new Set(),
  noOwnAsk: new Set(),
  verdicts: new Map(),
  policies: new Map(),
  last: null,
  version: 0,
  states: "",
});

const COLUMNS = sql`${job.id} as "id", ${job.org} as "org", ${job.createdBy} as "createdBy", ${job.kind} as "kind", ${job.priority} as "priority",
  ${job.attempts} as "attempts", ${job.queuedAt} as "queuedAt", ${job.createdAt} as "createdAt", ${job.notBefore} as "notBefore",
  ${job.startAfter} as "startAfter", ${job.window} as "window", ${job.deadline} as "deadline",
  ${job.burst} as "burst", ${job.estimateLowS} as "lowS", ${job.estimateHighS} as "highS", json_extract(${job.progress}, '$.fraction') as "fraction",
  json_extract(${job.spec}, '$.need') as "need"`;

interface Row {
  id: string;
  org: string;
  createdBy: string;
  kind: JobKind;
  priority: number;
  attempts: number;
  queuedAt: number | null;
  createdAt: number;
  notBefore: number;
  startAfter: number | null;
  window: string | null;
  deadline: number | null;
  burst: string | null;
  lowS: number | null;
  highS: number | null;
  fraction: number | null;
  need: string;
}

function wantsOf(text: string): Wants {
  const need = JSON.parse(text) as Need;
  return {
    gpus: need.gpus,
    gpuMemoryMb: need.gpu_memory_mb,
    cpus: need.cpus,
    memoryMb: need.memory_mb,
    provider: need.provider,
  };
}

function jobOf(row: Row, carry: QueueCarry): QueuedJob {
  const { id, org: team, createdBy, kind, priority, startAfter, deadline, lowS, highS } = row;
  const wants = carry.queued.get(id)?.wants ?? wantsOf(row.need);
  const rest = 1 - Math.min(1, Math.max(0, row.fraction ?? 0));
  return {
    id,
    team,
    kind,
    priority,
    startAfter,
    deadline,
    wants,
    queuedAt: row.queuedAt ?? row.createdAt,
    retryAt: row.notBefore,
    window: row.window === null ? null : JSON.parse(row.window),
    estimate: lowS === null || highS === null ? UNKNOWN : { low: lowS * rest * 1000, high: highS * rest * 1000 },
    shape: shapeOf(kind, wants),
    begun: row.attempts > 0,
    ending: false,
    noRent: carry.noRent.has(id),
    createdBy,
    policy: row.burst === null ? null : JSON.parse(row.burst),
  };
}

/** The burst policy in force for each job of the last round. */
export function burstPolicies(ctx: Ctx, carry: QueueCarry): (one: Job) => BurstPolicy {
  const ofInstallation = installationBurst(ctx);
  return (one) => one.policy ?? carry.policies.get(one.team) ?? ofInstallation;
}

/** Why a job may not run. Endpoints are held by their deployments: several may share one serve job. */
function heldBecause(held: Held, one: QueuedJob): string | undefined {
  const hold = one.kind === "serve" ? null : held.of(one.createdBy, one.team);
  return hold ? heldMessage(hold).replace(/^./, (first) => first.toLowerCase()) : undefined;
}

/** Updates the mirror of the queue. */
async function readQueued(ctx: Ctx, carry: QueueCarry): Promise<void> {
  const now = ctx.clock.monotonic();
  if (carry.queued.size < MIRROR_FROM || now - carry.readAllAt > READ_ALL_MS) {
    const rows = await ctx.db.all<Row>(sql`select ${COLUMNS} from ${job} where ${job.state} = 'queued'`);
    carry.queued = new Map(rows.map((row) => [row.id, jobOf(row, carry)]));
    carry.readAllAt = now;
    carry.changed.clear();
    return;
  }
  if (carry.changed.size === 0) return;
  const ids = [...carry.changed];
  carry.changed.clear();
  const rows = await ctx.db.all<Row>(sql`select ${COLUMNS} from ${job}
    where ${job.id} in (select value from json_each(${sqlJson(ids)})) and ${job.state} = 'queued'`);
  const found = new Map(rows.map((row) => [row.id, row]));
  for (const id of ids) {
    const row = found.get(id);
    if (row) carry.queued.set(id, jobOf(row, carry));
    else carry.queued.delete(id);
  }
}

type RunningRow = Row & {
  attemptId: string;
  provider: string;
  offerId: string;
  startedAt: number;
  meteredMs: number;
  endedAt: number | null;
  state: string;
  etaS: number | null;
  step: number | null;
  totalSteps: number | null;
  progressAt: number | null;
  saveEvery: number | null;
};

function leftOf(row: RunningRow, estimate: Span, now: number): Span {
  if (row.endedAt !== null) return LEAVING;
  const progress = { eta_s: row.etaS, step: row.step ?? undefined, total_steps: row.totalSteps ?? undefined };
  const left = row.kind === "serve" ? null : timeLeftMs(progress, row.progressAt, now);
  if (left !== null) return { low: left * 0.85, high: left * 1.25 + 60_000 };
  const ran = now - row.startedAt;
  if (estimate.high === null) return UNKNOWN;
  return { low: Math.max(0, estimate.low - ran), high: Math.max(60_000, estimate.high - ran) };
}

/** Why budgets stop running work, by job. Work that is starting, or being stopped, is not stopped. */
async function overBudget(ctx: Ctx, rows: readonly RunningRow[], now: number): Promise<ReadonlyMap<string, string>> {
  const byJob = new Map(rows.filter((row) => row.endedAt === null).map((row) => [row.id, row]));
  const over = await overLimit(ctx.db, now, (jobId) => {
    const row = byJob.get(jobId);
    if (row?.state !== "running") return 0;
    const progress = { eta_s: row.etaS, step: row.step ?? undefined, total_steps: row.totalSteps ?? undefined };
    return checkpointAheadS(progress, row.saveEvery);
  });
  budgetMarks(ctx).stopping = over;
  return over;
}

/** Why queued jobs still wait for a budget, by job; one that fits now is tried again. */
async function waitingForBudget(ctx: Ctx, carry: QueueCarry, now: number): Promise<ReadonlyMap<string, string>> {
  const { waiting } = budgetMarks(ctx);
  for (const id of waiting.keys()) if (!carry.queued.has(id)) waiting.delete(id);
  const short = await stillShort(ctx.db, now, [...waiting.values()]);
  for (const id of waiting.keys()) if (!short.has(id)) waiting.delete(id);
  budgetMarks(ctx).why = short;
  return short;
}

/** Work that holds capacity, whether its attempt still counts or not. */
async function readRunning(ctx: Ctx, carry: QueueCarry, capacity: Capacity, holds: Held, stopped: Stopped) {
  const hosts = new Set(capacity.hosts.map((one) => one.id));
  const now = ctx.clock.now();
  const rows =
    await ctx.db.all<RunningRow>(sql`select ${COLUMNS}, ${attempt.id} as "attemptId", ${attempt.provider} as "provider",
    json_extract(${attempt.offer}, '$.id') as "offerId", coalesce(${attempt.startedAt}, ${attempt.createdAt}) as "startedAt",
    ${attempt.meteredMs} as "meteredMs",
    ${attempt.endedAt} as "endedAt", ${job.state} as "state", json_extract(${job.progress}, '$.eta_s') as "etaS",
    json_extract(${job.progress}, '$.step') as "step", json_extract(${job.progress}, '$.total_steps') as "totalSteps",
    ${job.progressAt} as "progressAt", json_extract(${job.spec}, '$.schedule.save_every') as "saveEvery"
    from ${attempt} join ${job} on ${job.id} = ${attempt.jobId} where ${attempt.goneAt} is null
    order by ${attempt.createdAt}, ${attempt.id} limit 10000`);
  const held = await ctx.db.select({ id: gpuAllocation.attemptId, uuid: gpuAllocation.gpuUuid }).from(gpuAllocation);
  const byAttempt = Map.groupBy(held, (one) => one.id);
  const ending = new Set(
    rows.filter((row) => row.endedAt !== null && row.endedAt > now - GONE_WAIT_MS).map((row) => row.id),
  );
  const over = await overBudget(ctx, rows, now);
  const running = rows.map((row): Running & { meteredTo: number } => {
    const read = jobOf(row, carry);
    const one = { ...read, held: heldBecause(holds, read), overBudget: over.get(row.id) };
    // An attempt that is over can no longer be asked to save.
    const open = row.endedAt === null;
    const named = `${row.provider}.${row.offerId}`;
    const hostId = hosts.has(named) ? named : hosts.has(row.provider) ? row.provider : null;
    return {
      job: one,
      hostId,
      gpus: (byAttempt.get(row.attemptId) ?? []).map(({ uuid }) => uuid),
      startedAt: row.startedAt,
      meteredTo: open ? row.startedAt + row.meteredMs : now,
      left: leftOf(row, one.estimate, now),
      preemptible: open && row.kind === "train" && row.state === "running",
      stoppable: open && row.kind !== "serve" && (row.state === "running" || row.state === "starting"),
      preempting: !open || row.state === "pausing" || row.state === "stopping",
      ...(stopped.has(row.provider) ? { providerStops: stopped.get(row.provider) } : {}),
    };
  });
  return { running, ending };
}

async function readMaintenance(ctx: Ctx): Promise<Maintenance[]> {
  return (await plannedMaintenance(ctx)).map(({ startsAt, endsAt, leadMs, trainings, endpoints }) => ({
    from: startsAt,
    until: endsAt,
    leadMs,
    trainings,
    endpoints,
  }));
}

/** Reads everything for one round. */
export async function readInput(ctx: Ctx, carry: QueueCarry): Promise<Input> {
  const now = ctx.clock.now();
  const stopped = await stoppedProviders(ctx);
  const capacity = await readCapacity(ctx, stopped);
  await readQueued(ctx, carry);
  const holds = await readHeld(ctx.db);
  const { running, ending: leaving } = await readRunning(ctx, carry, capacity, holds, stopped);
  await readUsage(ctx.db, carry.usage, now);
  const short = await waitingForBudget(ctx, carry, now);
  const unpaid = await lateWork(ctx);
  const here = await queuedHere(ctx.db);
  const shares = new Map((await ctx.db.select().from(teamShare)).map((row) => [row.org, row]));
  carry.policies = new Map([...shares.values()].flatMap(({ org, burst }) => (burst ? [[org, burst] as const] : [])));
  const policyOf = burstPolicies(ctx, carry);
  const closedOf = closedProviders(ctx);
  const rents = capacity.hosts.some((host) => host.rented);
  const market = { rents, ownCosts: rents && (await ownGpuCosts(ctx)).size > 0 };
  const queued = [...carry.queued.values()].map((one) => {
    const ending = leaving.has(one.id);
    const noRent = carry.noRent.has(one.id);
    const held = heldBecause(holds, one);
    const why = unpaid.why.get(one.team);
    const overBudget = short.get(one.id) ?? (unpaid.ownHosts ? undefined : why);
    const late = unpaid.ownHosts ? why : undefined;
    const hereOnly = here.has(one.id) || undefined;
    const noOwnAsk = carry.noOwnAsk.has(one.id) || undefined;
    const closed = closedOf.get(one.id);
    const limits = { ending, noRent, held, overBudget, late, hereOnly, noOwnAsk, closed };
    const burst = burstMarkOf({ ...one, ...limits }, policyOf(one), carry.verdicts.get(one.id), market);
    const marks = { ...limits, ...burst };
    const same = (Object.keys(marks) as (keyof typeof marks)[]).every((name) => one[name] === marks[name]);
    return same ? one : { ...one, ...marks };
  });
  const orgs = new Set([...queued.map((one) => one.team), ...running.map((one) => one.job.team)]);
  const teams = [...orgs].sort().map((id) => {
    const row = shares.get(id);
    const mine = running.filter((one) => one.job.team === id);
    // Intervals lag a little behind.
    const unmetered = (one: (typeof mine)[number]) => Math.max(0, now - one.meteredTo) / HOUR;
    const gpuHours = mine.reduce((sum, one) => sum + one.job.wants.gpus * unmetered(one), 0);
    const idle = mine.filter((one) => one.job.wants.gpus === 0);
    const slots = idle.reduce((sum, one) => sum + CPU_WEIGHT * unmetered(one), 0);
    return {
      id,
      weight: row?.weight ?? 1,
      maxGpus: row?.maxGpus ?? null,
      monthGpuHours: row?.monthGpuHours ?? null,
      used: decayed(carry.usage, id, now) + gpuHours + slots,
      usedThisMonth: (carry.usage.months.get(id) ?? 0) + gpuHours,
    };
  });
  return {
    now,
    monthEnds: monthOf(now, 1),
    capacity,
    running,
    queued,
    teams,
    reservations: carry.reservations,
    maintenance: await readMaintenance(ctx),
  };
}
