/**
 * Starts queued jobs: leases the job, sorts the offers of all providers, stores the attempt, then launches it. No
 * network call happens inside a transaction.
 */

import { and, eq, lte } from "drizzle-orm";
import { allocateGpus } from "../../compute/hosts/allocations.ts";
import { isProviderFailure } from "../../compute/providers/host.ts";
import type { Progress } from "../../contract/job.ts";
import type { LaunchSpec, Offer, Provider, ProviderErrorKind, ProviderPlugin } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { gpuAllocation, host } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { newId, newSecret, randomChars, sha256Hex } from "../../lib/ids.ts";
import { baseModelDir } from "../../models/base/service.ts";
import { artifactDir } from "../../models/tuned/service.ts";
import { afterLaunchFailure, type EndReason, launchReason, REASONS } from "../jobs/failures.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, endAttempt, finishJob, jobError, jobIn, move } from "../jobs/transitions.ts";
import { reserveAttempt } from "./budget.ts";

const LEASE_MS = 120_000;
/** How long a job waits before providers are asked again, unless a provider names a delay. */
const WAIT_MS = 3000;

/** The key of an attempt at its provider: its id, in the characters that keys allow. */
export const keyOf = (attemptId: string) => attemptId.replaceAll("_", "-");

/** Registers a launch in progress, so that the supervisor leaves the attempt alone meanwhile. */
export type Track = (work: Promise<void>, attemptId: string) => void;

interface Candidate {
  plugin: ProviderPlugin;
  provider: Provider;
  offer: Offer;
}

/** Kind of a provider error, and when to retry. Any other exception is fatal for this launch. */
function failureOf(error: unknown): {
  kind: ProviderErrorKind;
  message: string;
  retryAfterMs: number | null;
  reason: EndReason;
} {
  const message = error instanceof Error ? error.message : String(error);
  if (!isProviderFailure(error)) return { kind: "fatal", message, retryAfterMs: null, reason: "launch_failed" };
  const { providerErrorKind: kind, retryAfterS, reason } = error;
  return { kind, message, retryAfterMs: retryAfterS && retryAfterS * 1000, reason: launchReason(reason) };
}

/**
 * Directories of this machine that the job reads, for providers that isolate it. Its data and the checkpoint it resumes
 * from come over the socket.
 */
function inputsOf(ctx: Ctx, spec: JobRow["spec"]): string[] {
  const adapters =
    spec.kind === "serve"
      ? [...spec.adapters, spec.whole]
      : spec.kind === "train"
        ? [spec.start]
        : spec.kind === "export"
          ? [spec.tuned]
          : [spec.tuned, spec.against];
  const artifacts = adapters.flatMap((one) => (one ? [one.artifact_id] : []));
  return [baseModelDir(ctx, spec.base_model.id), ...artifacts.map((id) => artifactDir(ctx, id))];
}

/** What a provider is asked to run for a job: the only part of the frozen spec that leaves this server. */
export function launchSpecOf(ctx: Ctx, row: Pick<JobRow, "kind" | "spec">): LaunchSpec {
  return {
    kind: row.kind,
    need: row.spec.need,
    image: row.spec.trainer.image ?? null,
    argv: null,
    env: {},
    inputs: inputsOf(ctx, row.spec),
  };
}

/** The URL of the control plane for a trainer: the socket on this machine, the address for trainers elsewhere. */
function controlPlaneUrl(ctx: Ctx, plugin: ProviderPlugin, offer: Offer): string {
  const local = offer.local ?? plugin.capabilities.local;
  return local ? ctx.trainerHome : (ctx.config.trainer_url ?? ctx.config.public_url ?? ctx.trainerHome);
}

/** Where to start a job: on a host with the given GPUs, or at providers that are asked for offers. */
export interface Target {
  providers: readonly { plugin: ProviderPlugin; provider: Provider }[];
  /** `<provider>.<offer>`; null = any offer. */
  hostId: string | null;
  gpus: readonly string[];
}

/** Offers of the target's providers that are available now, by price, start and size. */
async function collectOffers(row: JobRow, target: Target) {
  const { need } = row.spec;
  const candidates: Candidate[] = [];
  const waits: string[] = [];
  let retryAfterMs = WAIT_MS;
  for (const entry of target.providers) {
    if (need.provider && entry.plugin.id !== need.provider) continue;
    try {
      for (const offer of await entry.provider.offers(need)) {
        if (target.hostId !== null && `${entry.plugin.id}.${offer.id}` !== target.hostId) continue;
        // GPUs that the scheduler assigned are free, whatever the provider reports about shared ones.
        if (target.gpus.length > 0) candidates.push({ ...entry, offer });
        else if (need.max_price_per_hour !== null && offer.pricePerHour > need.max_price_per_hour) continue;
        else if (offer.available) candidates.push({ ...entry, offer });
        else waits.push(`Waiting for capacity at ${entry.plugin.title}`);
      }
    } catch (error) {
      const failure = failureOf(error);
      waits.push(failure.message);
      retryAfterMs = Math.min(retryAfterMs, failure.retryAfterMs ?? WAIT_MS);
    }
  }
  const rank = ({ offer }: Candidate) => [offer.pricePerHour, offer.startsInS, offer.gpuMemoryMb, offer.memoryMb];
  candidates.sort((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    for (const [i, value] of left.entries()) if (value !== right[i]) return value - (right[i] ?? 0);
    return 0;
  });
  return { candidates, waiting: waits[0] ?? null, retryAfterMs: Math.max(500, retryAfterMs) };
}

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
 * Stores the attempt that is about to be launched, with the GPUs and the part of budgets it holds; null when the job is
 * no longer leased or its host no longer ready, and the reason when it has to wait for a budget.
 */
function openAttempt(ctx: Ctx, row: JobRow, lease: string, chosen: Candidate, target: Target, token: string) {
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state !== "queued" || current.leaseToken !== lease) return null;
    const [on] = target.hostId
      ? await tx.select({ state: host.state }).from(host).where(eq(host.id, target.hostId))
      : [];
    if (on && on.state !== "ready") return null;
    const short = await reserveAttempt(tx, ctx, current, { provider: chosen.plugin.id, offer: chosen.offer });
    if (short !== null) return short;
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
        provider: chosen.plugin.id,
        offer: chosen.offer,
        tokenHash: sha256Hex(token),
        createdAt: now,
      })
      .returning();
    if (made) await allocateGpus(tx, now, { attemptId: made.id, jobId: row.id }, target.gpus);
    return made && message ? { attempt: made, message } : null;
  });
}

/**
 * Launches a stored attempt; safe to repeat, because its id is the key. The outcome is applied only if the attempt has
 * not ended.
 */
export async function launchAttempt(ctx: Ctx, row: JobRow, which: AttemptRow, token: string): Promise<void> {
  const entry = ctx.compute.get(which.provider);
  if (!entry) return;
  const held = await ctx.db
    .select({ uuid: gpuAllocation.gpuUuid })
    .from(gpuAllocation)
    .where(eq(gpuAllocation.attemptId, which.id))
    .orderBy(gpuAllocation.gpuUuid);
  const spec = launchSpecOf(ctx, row);
  if (held.length > 0) spec.gpus = held.map(({ uuid }) => uuid);
  let problem: ReturnType<typeof failureOf> | null = null;
  let handle: AttemptRow["handle"] = null;
  ctx.failPoint("launch.before");
  try {
    handle = await entry.provider.launch(spec, which.offer, {
      key: keyOf(which.id),
      labels: { job: row.id, attempt: which.id, org: row.org, kind: row.kind },
      deadline: which.createdAt + (row.spec.limits.total_s + 3600) * 1000,
      maxPricePerHour: row.spec.need.max_price_per_hour,
      callHome: { url: controlPlaneUrl(ctx, entry.plugin, which.offer), token, fingerprint: null },
    });
  } catch (error) {
    problem = failureOf(error);
    ctx.log("warn", "launch failed", { job: row.id, attempt: which.id, provider: which.provider, cause: error });
  }
  ctx.failPoint("launch.started");
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    const [mine] = await tx.select().from(attempt).where(eq(attempt.id, which.id)).limit(1);
    if (!current || !mine) return [];
    if (handle) {
      // An attempt that ended meanwhile keeps its handle too: it is needed to terminate the work.
      const state = mine.state === "launching" ? ("starting" as const) : mine.state;
      await tx
        .update(attempt)
        .set({ handle, state, startedAt: mine.startedAt ?? ctx.clock.now() })
        .where(eq(attempt.id, mine.id));
      await tx.update(job).set({ leaseToken: null, leaseUntil: 0 }).where(eq(job.id, row.id));
      return [];
    }
    if (!problem || mine.state !== "launching") return [];
    const after = REASONS[problem.reason].retry ? afterLaunchFailure(problem.kind) : "fail";
    if (after !== "fail" && current.state === "starting") {
      await endAttempt(tx, ctx, current, mine, { outcome: "launch_failed", detail: problem.message });
      const wait = problem.retryAfterMs ?? WAIT_MS;
      const progress = { ...current.progress, waiting: problem.message };
      const message = await move(tx, ctx, current, "queued", { notBefore: ctx.clock.now() + wait, progress });
      return message ? [message] : [];
    }
    return attemptFailed(tx, ctx, current, mine, {
      reason: problem.reason,
      message: `The attempt could not be launched: ${problem.message}`,
      retry: after !== "fail",
    });
  });
  emitAll(ctx.bus, messages);
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
  const { candidates, waiting, retryAfterMs } = await collectOffers(leased, target);
  const [best] = candidates;
  if (!best && !waiting && target.hostId === null) {
    await releaseLease(ctx, jobId, lease);
    return "never";
  }
  if (!best) {
    await postpone(ctx, leased, lease, waiting ?? "Waiting for an offer from its host", retryAfterMs);
    return "waits";
  }
  const token = newSecret("fta-");
  try {
    const opened = await openAttempt(ctx, leased, lease, best, target, token);
    if (typeof opened === "string") {
      await postpone(ctx, leased, lease, opened, 0);
      return "waits";
    }
    if (!opened) {
      await releaseLease(ctx, jobId, lease);
      return "lost";
    }
    emitAll(ctx.bus, [opened.message]);
    track(launchAttempt(ctx, { ...leased, state: "starting" }, opened.attempt, token), opened.attempt.id);
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
    const message = provider
      ? `The provider ${provider} has no machine that could ever run this job.`
      : "No provider of this installation has a machine that could ever run this job.";
    return (await finishJob(tx, ctx, current, { state: "failed", error: jobError("no_offer", message) })) ?? [];
  });
  emitAll(ctx.bus, messages);
}
