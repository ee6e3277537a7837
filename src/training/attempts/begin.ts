/** Starts queued jobs: leases the job, sorts the offers of all providers, stores the attempt, then launches it. */
import { and, eq, lte } from "drizzle-orm";
import { budgetMarks } from "../../billing/budgets/limits.ts";
import { allocateGpus } from "../../compute/hosts/allocations.ts";
import type { Progress } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { host } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { newId, randomChars } from "../../lib/ids.ts";
import type { JobRow } from "../jobs/model.ts";
import { keptHere, keptHereMessage } from "../jobs/stays-local.ts";
import { finishJob, jobError, jobIn, move, newestAttempt, note } from "../jobs/transitions.ts";
import { ownNoun } from "../scheduler/burst.ts";
import { firstAllowed } from "./admission.ts";
import { type Candidate, collectCandidates, RENTED_WAIT_MS, type Target, WAIT_MS } from "./candidates.ts";
import { closeProvider } from "./closed.ts";
import { byBurstPolicy, byTotalCost } from "./compare.ts";
import { launchAttempt } from "./launch.ts";
import { offersElsewhere, reachable } from "./reachable.ts";
import { type AttemptToken, newToken } from "./tokens.ts";

const LEASE_MS = 120_000;

interface Wait {
  ms: number;
  /** By provider, where they differ. */
  delays?: ReadonlyMap<string, number>;
}

/** Registers a launch in progress, so that the supervisor leaves the attempt alone meanwhile. */
export type Track = (work: Promise<void>, attemptId: string) => void;

/** Postpones the job without a state change; its page shows the reason. */
async function postpone(ctx: Ctx, row: JobRow, lease: string, waiting: string, ms: number): Promise<void> {
  const progress: Progress = { ...row.progress, waiting };
  await ctx.write((tx) =>
    tx
      .update(job)
      .set({ leaseToken: null, leaseUntil: 0, notBefore: ctx.clock.now() + ms, progress: { ...progress } })
      .where(and(eq(job.id, row.id), eq(job.leaseToken, lease), eq(job.state, "queued"))),
  );
  if (row.progress.waiting !== waiting) ctx.bus.emit("job.progress", { org: row.org, jobId: row.id });
}

/**
 * Postpones a job for which the target has nothing now. Where providers were asked, only they are not asked again for a
 * while: own machines that become free meanwhile, and other providers, are not held up.
 */
async function postponeAt(ctx: Ctx, row: JobRow, lease: string, target: Target, waiting: string, wait: Wait) {
  if (!target.asked) return postpone(ctx, row, lease, waiting, wait.ms);
  for (const { plugin } of target.providers)
    closeProvider(ctx, row.id, plugin.id, wait.delays?.get(plugin.id) ?? wait.ms);
  await postpone(ctx, row, lease, waiting, 0);
}

/** Notes in its history that a job leaves own machines, or returns to them. */
async function noteMove(tx: Db, ctx: Ctx, row: JobRow, { plugin }: Candidate, target: Target): Promise<void> {
  if (row.spec.need.provider) return;
  const noun = ownNoun(row.spec.need.gpus);
  if (plugin.capabilities.priced) {
    await note(tx, ctx, row, `Leaves for ${plugin.title}: ${target.why ?? `no ${noun} are free`}`);
    return;
  }
  const last = row.attempts > 0 ? await newestAttempt(tx, row.id) : null;
  if (last && ctx.compute.get(last.provider)?.plugin.capabilities.priced)
    await note(tx, ctx, row, `Returns to ${noun}: enough are free now`);
}

/**
 * Stores the attempt that is about to be launched, with the GPUs and the part of budgets it holds; null when the job is
 * no longer leased or its host no longer ready, and the reason when limits or budgets allow none of the offers now.
 */
function openAttempt(
  ctx: Ctx,
  row: JobRow,
  lease: string,
  candidates: readonly Candidate[],
  target: Target,
  token: AttemptToken,
) {
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state !== "queued" || current.leaseToken !== lease) return null;
    const [on] = target.hostId
      ? await tx.select({ state: host.state }).from(host).where(eq(host.id, target.hostId))
      : [];
    if (on && on.state !== "ready") return null;
    const chosen = await firstAllowed(tx, ctx, current, candidates);
    if (typeof chosen === "string") return chosen;
    await noteMove(tx, ctx, current, chosen.candidate, target);
    const { waiting: _waiting, phase: _phase, address: _address, models: _models, ...progress } = current.progress;
    const message = await move(tx, ctx, current, "starting", {
      attempts: current.attempts + 1,
      progressAt: now,
      progress: { ...progress, tokens_before: progress.tokens_seen ?? 0 },
      leaseToken: lease,
      leaseUntil: now + LEASE_MS,
    });
    const [made] = await tx
      .insert(attempt)
      .values({
        id: newId("attempt"),
        org: row.org,
        jobId: row.id,
        number: current.attempts + 1,
        state: "launching",
        provider: chosen.candidate.plugin.id,
        offer: chosen.candidate.offer,
        ...token.stored,
        createdAt: now,
      })
      .returning();
    if (made) await allocateGpus(tx, now, { attemptId: made.id, jobId: row.id }, target.gpus);
    return made && message ? { attempt: made, message, rest: chosen.rest } : null;
  });
}

/**
 * Outcome of starting a job: `never` = its providers can never run it, `lost` = the job is no longer leased.
 */
type StartOutcome = "begun" | "waits" | "never" | "lost";

/**
 * Leases a queued job and starts it. Resolves once the attempt is stored; the launch continues in `track`.
 */
export async function begin(ctx: Ctx, jobId: string, target: Target, track: Track): Promise<StartOutcome> {
  const lease = randomChars(16);
  const now = ctx.clock.now();
  const [leased] = await ctx.write((tx) =>
    tx
      .update(job)
      .set({ leaseToken: lease, leaseUntil: now + LEASE_MS })
      .where(and(eq(job.id, jobId), eq(job.state, "queued"), lte(job.leaseUntil, now)))
      .returning(),
  );
  if (!leased) return "lost";
  const { candidates: offered, waiting: why, retryAfterMs, delays } = await collectCandidates(ctx, leased, target);
  const policed = await byBurstPolicy(ctx, leased, await byTotalCost(ctx, leased, offered));
  const { candidates, unreachable } = await reachable(ctx, leased, policed.candidates);
  const waiting = policed.excluded ?? unreachable ?? why;
  const none = candidates.length === 0;
  if (none && !waiting && target.hostId === null) {
    await releaseLease(ctx, jobId, lease);
    return "never";
  }
  if (none) {
    const ms = policed.excluded === null ? retryAfterMs : RENTED_WAIT_MS;
    await postponeAt(ctx, leased, lease, target, waiting ?? "Waiting for an offer from its host", { ms, delays });
    return "waits";
  }
  // A launch may walk on to the next offer with the same token.
  const elsewhere = candidates.filter((one) => offersElsewhere(ctx, one));
  const token = newToken(ctx, elsewhere.length > 0, Math.max(0, ...elsewhere.map(({ offer }) => offer.startsInS)));
  try {
    const opened = await openAttempt(ctx, leased, lease, candidates, target, token);
    if (typeof opened === "string") {
      // The scheduler itself knows when a budget has enough left.
      if (budgetMarks(ctx).waiting.has(jobId)) await postpone(ctx, leased, lease, opened, 0);
      else await postponeAt(ctx, leased, lease, target, opened, { ms: RENTED_WAIT_MS });
      return "waits";
    }
    if (!opened) {
      await releaseLease(ctx, jobId, lease);
      return "lost";
    }
    emitAll(ctx.bus, [opened.message]);
    track(
      launchAttempt(ctx, { ...leased, state: "starting" }, opened.attempt, token.token, opened.rest),
      opened.attempt.id,
    );
    return "begun";
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "gpu_taken") throw error;
    await postpone(ctx, leased, lease, error.message, WAIT_MS);
    return "waits";
  }
}

async function releaseLease(ctx: Ctx, jobId: string, lease: string): Promise<void> {
  await ctx.write((tx) =>
    tx
      .update(job)
      .set({ leaseToken: null, leaseUntil: 0 })
      .where(and(eq(job.id, jobId), eq(job.leaseToken, lease))),
  );
}

/** Fails a queued job that no provider can ever run. */
export async function failUnrunnable(ctx: Ctx, jobId: string): Promise<void> {
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, jobId);
    if (current?.state !== "queued") return [];
    const { provider } = current.spec.need;
    const kept = await keptHere(tx, current.spec, current);
    const message = kept.any
      ? `${keptHereMessage(kept)} No machine here could ever run it.`
      : provider
        ? `The provider ${provider} has no machine that could ever run this job.`
        : "No provider of this installation has a machine that could ever run this job.";
    return (await finishJob(tx, ctx, current, { state: "failed", error: jobError("no_offer", message) })) ?? [];
  });
  emitAll(ctx.bus, messages);
}
