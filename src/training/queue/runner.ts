/**
 * Carries out the scheduler's rounds: starts jobs under their leases, preempts running ones, and stores why the others
 * wait.
 */
import { and, eq } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { begin, failUnrunnable, type Track } from "../attempts/begin.ts";
import type { Target } from "../attempts/candidates.ts";
import { askToPause } from "../attempts/taken-back.ts";
import { jobIn, move, note } from "../jobs/transitions.ts";
import { asksAgainAt, burstAllows } from "../scheduler/capacity.ts";
import { schedule } from "../scheduler/round.ts";
import type { Input, Job, Preemption, Round } from "../scheduler/types.ts";
import { decideWaiting } from "./burst.ts";
import { burstPolicies, newQueueCarry, type QueueCarry, readInput } from "./snapshot.ts";
import { waitMessage } from "./wait-messages.ts";

/** Jobs at the front of the queue whose reason for waiting is stored on their row. */
const MAX_STORED_REASONS = 100;

interface QueueRun {
  carry: QueueCarry;
  /** Reasons that the last round wrote to rows, by job. */
  reasons: ReadonlyMap<string, string>;
}
const runOf = perContext((): QueueRun => ({ carry: newQueueCarry(), reasons: new Map() }));

/** State that the scheduler of this server carries from round to round. */
export const queueCarry = (ctx: Ctx): QueueCarry => runOf(ctx).carry;

/** Marks the last round and its forecast as out of date, so that the next reader decides again. */
export function invalidateRound(carry: QueueCarry): void {
  carry.last = null;
  carry.version++;
}

/** Decides a round without carrying anything out. */
export async function decide(ctx: Ctx, carry = queueCarry(ctx)): Promise<{ input: Input; round: Round }> {
  let { version } = carry;
  const input = await readInput(ctx, carry);
  const states = input.capacity.hosts.map((host) => `${host.id} ${host.state} ${host.gpus.length}`).join();
  if (states !== carry.states) {
    carry.version++;
    version++;
  }
  carry.states = states;
  const decided = { input, round: schedule(input) };
  // A change during the read may be missing from the result.
  carry.last = carry.version === version ? decided : null;
  return decided;
}

const PREEMPTION_NOTES: Record<Exclude<Preemption["cause"], "budget" | "provider">, string> = {
  priority: "Preempted by a job of higher priority: it saves a checkpoint, then waits in the queue",
  window: "Its time window has ended: it saves a checkpoint, then waits for the next window",
  drain: "Its host is being drained: it saves a checkpoint, then resumes on another host or waits",
  held: "Its account or organization is suspended or about to be deleted: it stops with a checkpoint, then waits in the queue",
  maintenance: "The installation is under maintenance: it stops with a checkpoint, and resumes or starts over after it",
  quota: "Its team has used up its GPU-hours of this month: it saves a checkpoint, then waits for the next month",
};

const noteOf = ({ cause, why }: Preemption): string =>
  cause === "budget" || cause === "provider"
    ? `It saves a checkpoint and waits in the queue: ${why ?? "a budget is used up"}`
    : PREEMPTION_NOTES[cause];

/** Asks running jobs to save a checkpoint and release their GPUs, with the next reply to their trainers. */
async function preempt(ctx: Ctx, preemptions: readonly Preemption[]): Promise<void> {
  if (preemptions.length === 0) return;
  const messages = await ctx.write(async (tx) => {
    const found: BusMessage[] = [];
    for (const preemption of preemptions) {
      const { jobId, cause } = preemption;
      const row = await jobIn(tx, jobId);
      const stops = cause === "held" || cause === "budget" || cause === "provider" || cause === "maintenance";
      if (row?.state !== "running" && !(stops && row?.state === "starting")) continue;
      const message = await move(tx, ctx, row, "pausing", { yieldFor: cause });
      if (!message) continue;
      await askToPause(tx, ctx, jobId);
      await note(tx, ctx, row, noteOf(preemption));
      found.push(message);
    }
    return found;
  });
  emitAll(ctx.bus, messages);
}

/** Stores why the first jobs wait on their rows, for the pages of these jobs; writes only reasons that changed. */
async function storeReasons(ctx: Ctx, { input, round }: { input: Input; round: Round }): Promise<void> {
  const hosts = new Map(input.capacity.hosts.map((host) => [host.id, host]));
  const jobs = new Map(input.queued.map((one) => [one.id, one]));
  const reasons: { id: string; org: string; waiting: string }[] = [];
  for (const id of round.order.slice(0, MAX_STORED_REASONS)) {
    const [one, wait] = [jobs.get(id), round.waits.get(id)];
    // Before a retry the row holds the provider's answer.
    if (!one || !wait || wait.code === "retry") continue;
    reasons.push({ id, org: one.team, waiting: waitMessage(one, wait, hosts, null, input.now) });
  }
  const run = runOf(ctx);
  const changed = reasons.filter(({ id, waiting }) => run.reasons.get(id) !== waiting);
  run.reasons = new Map(reasons.map(({ id, waiting }) => [id, waiting]));
  if (changed.length === 0) return;
  await ctx.write(async (tx) => {
    for (const { id, waiting } of changed) {
      const row = await jobIn(tx, id);
      if (row?.state !== "queued" || row.progress.waiting === waiting) continue;
      await tx
        .update(job)
        .set({ progress: { ...row.progress, waiting } })
        .where(and(eq(job.id, id), eq(job.state, "queued")));
    }
  });
  for (const { id, org } of changed) ctx.bus.emit("job.progress", { org, jobId: id });
}

/** Where a decision places a job: on the host's provider, or on any provider of its kind that must be asked. */
function targetOf(ctx: Ctx, input: Input, one: Job | undefined, hostId: string, gpus: readonly string[]): Target {
  const chosen = input.capacity.hosts.find((host) => host.id === hostId);
  if (!chosen?.ask) {
    const entry = chosen && ctx.compute.get(chosen.provider);
    return { providers: entry ? [entry] : [], hostId, gpus };
  }
  const like = input.capacity.hosts.filter(
    (host) =>
      host.ask &&
      host.pool === chosen.pool &&
      (!one || (burstAllows(host, one) && asksAgainAt(host, one) <= input.now)),
  );
  const providers = like.flatMap((host) => ctx.compute.get(host.provider) ?? []);
  return { providers, hostId: null, gpus: [], asked: true };
}

/**
 * One round: reads, decides, carries out. Network calls run outside of transactions. A decision applies only under the
 * job's lease, and only while the job is in the state it was decided for.
 */
export async function runQueue(ctx: Ctx, carry: QueueCarry, track: Track): Promise<Round> {
  const { input, round } = await decide(ctx, carry);
  carry.reservations = round.reservations;
  await preempt(ctx, round.preemptions);
  const jobs = new Map(input.queued.map((one) => [one.id, one]));
  for (const { jobId, hostId, gpus } of round.starts) {
    if (ctx.signal.aborted) return round;
    carry.changed.add(jobId);
    const one = jobs.get(jobId);
    const target = { ...targetOf(ctx, input, one, hostId, gpus), why: carry.verdicts.get(jobId)?.why };
    const home = one?.burst === "own" || one?.burst === "stays";
    if ((await begin(ctx, jobId, target, track)) === "never") (home ? carry.noOwnAsk : carry.noRent).add(jobId);
  }
  for (const [jobId, wait] of round.waits) {
    if (wait.code !== "never" || ctx.signal.aborted) continue;
    // The providers themselves have the final say.
    carry.changed.add(jobId);
    if ((await begin(ctx, jobId, { providers: ctx.compute.list(), hostId: null, gpus: [] }, track)) === "never")
      await failUnrunnable(ctx, jobId);
  }
  await storeReasons(ctx, { input, round });
  if (ctx.signal.aborted) return round;
  const moved = await decideWaiting(ctx, carry.verdicts, burstPolicies(ctx, carry), { input, round });
  if (!moved) return round;
  invalidateRound(carry);
  return { ...round, nextAt: ctx.clock.now() };
}

/** Starts with empty state and follows every change on the bus until `stop` is called. */
export function openQueue(ctx: Ctx): { carry: QueueCarry; stop: () => void } {
  const carry = newQueueCarry();
  runOf(ctx).carry = carry;
  const stops = [
    ctx.bus.on("job.changed", ({ jobId, state }) => {
      carry.changed.add(jobId);
      if (state !== "queued") {
        carry.noRent.delete(jobId);
        carry.noOwnAsk.delete(jobId);
        carry.verdicts.delete(jobId);
      }
      invalidateRound(carry);
    }),
    ctx.bus.on("hosts.changed", () => invalidateRound(carry)),
    ctx.bus.on("hold.changed", () => invalidateRound(carry)),
    ctx.bus.on("budget.changed", () => invalidateRound(carry)),
    ctx.bus.on("maintenance.changed", () => invalidateRound(carry)),
  ];
  return { carry, stop: () => stops.forEach((stop) => void stop()) };
}
