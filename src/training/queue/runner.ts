/**
 * Carries out the scheduler's rounds: begins jobs under their leases, asks running ones to make room, and tells the
 * others what they wait for.
 */
import { and, eq, isNull } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { command, job } from "../../db/schema/jobs.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { randomChars } from "../../lib/ids.ts";
import { begin, failUnrunnable, type Target, type Track } from "../attempts/launch.ts";
import { jobIn, move, note } from "../jobs/transitions.ts";
import { schedule } from "../scheduler/round.ts";
import type { Input, Preemption, Round } from "../scheduler/types.ts";
import { newQueueCarry, type QueueCarry, readInput } from "./snapshot.ts";
import { waitWords } from "./wait-messages.ts";

/** Jobs at the front of the queue whose reason is also kept on their row. */
const TOLD = 100;

interface QueueRun {
  carry: QueueCarry;
  /** Reasons that were written to rows in the last round, by job. */
  told: ReadonlyMap<string, string>;
}
const runOf = perContext((): QueueRun => ({ carry: newQueueCarry(), told: new Map() }));

/** What the scheduler of this server carries from round to round. */
export const queueCarry = (ctx: Ctx): QueueCarry => runOf(ctx).carry;

/** What was decided and foretold may hold no longer: whoever looks next has it decided anew. */
export function unsettle(carry: QueueCarry): void {
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
  // What changed while it read may not be in it.
  carry.last = carry.version === version ? decided : null;
  return decided;
}

const YIELD_WORDS: Record<Preemption["cause"], string> = {
  priority: "It makes room for a job of higher priority: a checkpoint is saved, then it waits in the queue",
  window: "Its hours are over: a checkpoint is saved, then it waits for the next ones",
  drain: "Its host is drained: a checkpoint is saved, then it goes on elsewhere or waits",
  quota: "Its team's GPU-hours of this month are used up: a checkpoint is saved, then it waits for the next month",
};

/** Asks running jobs to save and let go. Their trainers hear of it with their next answer; nothing is killed. */
async function askToYield(ctx: Ctx, preemptions: readonly Preemption[]): Promise<void> {
  if (preemptions.length === 0) return;
  const messages = await ctx.write(async (tx) => {
    const found: BusMessage[] = [];
    for (const { jobId, cause } of preemptions) {
      const row = await jobIn(tx, jobId);
      if (row?.state !== "running") continue;
      const message = await move(tx, row, "pausing", { yieldFor: cause });
      if (!message) continue;
      await tx
        .update(command)
        .set({ doneAt: ctx.clock.now() })
        .where(and(eq(command.jobId, jobId), eq(command.type, "pause"), isNull(command.doneAt)));
      await tx.insert(command).values({
        id: `cmd_${randomChars(20)}`,
        jobId,
        type: "pause",
        createdBy: "system",
        createdAt: ctx.clock.now(),
      });
      await note(tx, ctx, row, YIELD_WORDS[cause]);
      found.push(message);
    }
    return found;
  });
  emitAll(ctx.bus, messages);
}

/**
 * Keeps the reasons of the first jobs on their rows, where a page of one job finds them; only those that changed are
 * written.
 */
async function tellReasons(ctx: Ctx, { input, round }: { input: Input; round: Round }): Promise<void> {
  const hosts = new Map(input.capacity.hosts.map((host) => [host.id, host]));
  const jobs = new Map(input.queued.map((one) => [one.id, one]));
  const told: { id: string; org: string; waiting: string }[] = [];
  for (const id of round.order.slice(0, TOLD)) {
    const [one, wait] = [jobs.get(id), round.waits.get(id)];
    // While it is tried again its row holds what the provider said.
    if (!one || !wait || wait.code === "retry") continue;
    told.push({ id, org: one.team, waiting: waitWords(one, wait, hosts, null) });
  }
  const run = runOf(ctx);
  const news = told.filter(({ id, waiting }) => run.told.get(id) !== waiting);
  run.told = new Map(told.map(({ id, waiting }) => [id, waiting]));
  if (news.length === 0) return;
  await ctx.write(async (tx) => {
    for (const { id, waiting } of news) {
      const row = await jobIn(tx, id);
      if (row?.state !== "queued" || row.progress.waiting === waiting) continue;
      await tx
        .update(job)
        .set({ progress: { ...row.progress, waiting } })
        .where(and(eq(job.id, id), eq(job.state, "queued")));
    }
  });
  for (const { id, org } of news) ctx.bus.emit("job.progress", { org, jobId: id });
}

/** Where a decision points: the host's provider, or all providers of its kind that must be asked. */
function targetOf(ctx: Ctx, input: Input, hostId: string, gpus: readonly string[]): Target {
  const chosen = input.capacity.hosts.find((host) => host.id === hostId);
  if (!chosen?.ask) {
    const entry = chosen && ctx.compute.get(chosen.provider);
    return { providers: entry ? [entry] : [], hostId, gpus };
  }
  const like = input.capacity.hosts.filter((host) => host.ask && host.pool === chosen.pool);
  const providers = like.flatMap((host) => ctx.compute.get(host.provider) ?? []);
  return { providers, hostId: null, gpus: [] };
}

/**
 * One round: reads, decides, carries out. Network calls lie outside of transactions, and what was decided counts only
 * under the lease of the job, in the state it was decided for.
 */
export async function runQueue(ctx: Ctx, carry: QueueCarry, track: Track): Promise<Round> {
  const { input, round } = await decide(ctx, carry);
  carry.reservations = round.reservations;
  await askToYield(ctx, round.preemptions);
  for (const { jobId, hostId, gpus } of round.starts) {
    if (ctx.signal.aborted) return round;
    carry.changed.add(jobId);
    const target = targetOf(ctx, input, hostId, gpus);
    if ((await begin(ctx, jobId, target, track)) === "never") carry.noRent.add(jobId);
  }
  for (const [jobId, wait] of round.waits) {
    if (wait.code !== "never" || ctx.signal.aborted) continue;
    // The last word is the providers' own.
    carry.changed.add(jobId);
    if ((await begin(ctx, jobId, { providers: ctx.compute.list(), hostId: null, gpus: [] }, track)) === "never")
      await failUnrunnable(ctx, jobId);
  }
  await tellReasons(ctx, { input, round });
  return round;
}

/** Starts with nothing carried over and learns of every change; `stop` ends the listening. */
export function openQueue(ctx: Ctx): { carry: QueueCarry; stop: () => void } {
  const carry = newQueueCarry();
  runOf(ctx).carry = carry;
  const stops = [
    ctx.bus.on("job.changed", ({ jobId, state }) => {
      carry.changed.add(jobId);
      if (state !== "queued") carry.noRent.delete(jobId);
      unsettle(carry);
    }),
    ctx.bus.on("hosts.changed", () => unsettle(carry)),
  ];
  return { carry, stop: () => stops.forEach((stop) => void stop()) };
}
