/**
 * Launches stored attempts: an offer without capacity is followed by the next one, other failures by what the table of
 * reasons says. No network call happens inside a transaction.
 */

import { and, eq, sql } from "drizzle-orm";
import { ceilingOf } from "../../compute/limits/check.ts";
import { type Failure, failureText, readFailure } from "../../compute/limits/pauses.ts";
import { limitsOf, titleOf } from "../../compute/limits/service.ts";
import { homeFingerprint, homeUrl } from "../../compute/providers/call-home.ts";
import { mailboxFingerprint, mailboxUrl, usesMailbox } from "../../compute/providers/mailbox.ts";
import type { CallHome, Handle, LaunchSpec, Offer } from "../../contract/provider.ts";
import { artifactsOf } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { gpuAllocation } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { emitAll } from "../../lib/bus.ts";
import { baseModelDir } from "../../models/base/service.ts";
import { artifactDir } from "../../models/tuned/service.ts";
import { localUnit } from "../../objects/local.ts";
import { afterLaunchFailure, launchReason, REASONS } from "../jobs/failures.ts";
import type { AttemptRow, JobRow } from "../jobs/model.ts";
import { attemptFailed, endAttempt, jobIn, move, note } from "../jobs/transitions.ts";
import { firstAllowed } from "./admission.ts";
import {
  anyPrice,
  type Candidate,
  isCurrent,
  noteFailure,
  priceLimitOf,
  RENTED_WAIT_MS,
  WAIT_MS,
} from "./candidates.ts";
import { closeProvider } from "./closed.ts";
import { byBurstPolicy } from "./compare.ts";
import { isElsewhere } from "./first-contact.ts";
import { PROVISION_MS } from "./tokens.ts";

/** How long a launch waits for an object store that does not answer. */
const STORE_WAIT_MS = 30_000;
/** The longest wait after no offer had capacity. */
const MAX_CAPACITY_WAIT_MS = 300_000;

/** The key of an attempt at its provider: its id, in the characters that keys allow. */
export const keyOf = (attemptId: string) => attemptId.replaceAll("_", "-");

/**
 * Directories of this machine that the job reads, for providers that isolate it. Its data and the checkpoint it resumes
 * from come over the socket.
 */
const inputsOf = (ctx: Ctx, spec: JobRow["spec"]): string[] => [
  baseModelDir(ctx, spec.base_model.id),
  ...artifactsOf(spec).map((id) => artifactDir(ctx, id)),
];

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

/** How the trainer reaches this server: the socket on this machine; elsewhere its address or the mailbox. */
async function callHomeOf(ctx: Ctx, which: AttemptRow, token: string): Promise<CallHome> {
  if (!isElsewhere(ctx, which)) return { url: ctx.trainerHome, token, fingerprint: null };
  if (usesMailbox(ctx)) {
    const url = await mailboxUrl(ctx, which.id, which.offer.startsInS + PROVISION_MS / 1000);
    return { url, token, fingerprint: mailboxFingerprint(ctx) };
  }
  return { url: homeUrl(ctx) ?? ctx.trainerHome, token, fingerprint: homeFingerprint(ctx) };
}

/** Asks the provider of an attempt to start it. @returns its handle, or why that failed */
async function launchOnce(ctx: Ctx, row: JobRow, which: AttemptRow, token: string): Promise<Handle | Failure> {
  const entry = ctx.compute.get(which.provider);
  if (!entry) return readFailure(new Error(`the provider ${which.provider} is not loaded`));
  const held = await ctx.db
    .select({ uuid: gpuAllocation.gpuUuid })
    .from(gpuAllocation)
    .where(eq(gpuAllocation.attemptId, which.id))
    .orderBy(gpuAllocation.gpuUuid);
  const spec = launchSpecOf(ctx, row);
  if (held.length > 0) spec.gpus = held.map(({ uuid }) => uuid);
  const price = priceLimitOf(row.spec.need);
  const most = ceilingOf(which.offer, await limitsOf(ctx.db, which.provider), price);
  try {
    for (const id of artifactsOf(row.spec)) await localUnit(ctx, { folder: "artifacts", id });
  } catch (error) {
    // The object store does not answer: the launch is repeated.
    return { ...readFailure(error), kind: "transient", retryAfterMs: STORE_WAIT_MS };
  }
  try {
    return await entry.provider.launch(spec, which.offer, {
      key: keyOf(which.id),
      labels: { job: row.id, attempt: which.id, org: row.org, kind: row.kind, provider: which.provider },
      deadline: which.createdAt + (row.spec.limits.total_s + 3600) * 1000,
      maxPricePerHour: most ?? price.maxPricePerHour,
      callHome: await callHomeOf(ctx, which, token),
    });
  } catch (error) {
    ctx.log("warn", "launch failed", { job: row.id, attempt: which.id, provider: which.provider, cause: error });
    return readFailure(error);
  }
}

const isFailure = (answer: Handle | Failure): answer is Failure => "vendorCode" in answer && "retryAfterMs" in answer;

/**
 * Gives a launch that a provider refused for certain to the next offer, in the same attempt: nothing was made, so its
 * key is free. After a refused key, quota or rate limit the other offers of that provider are left out.
 */
async function moveOn(
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
  failure: Failure,
  rest: readonly Candidate[],
): Promise<{ attempt: AttemptRow; rest: readonly Candidate[] } | null> {
  const others = rest.filter(({ plugin }) => failure.kind === "no_capacity" || plugin.id !== which.provider);
  if (others.length === 0) return null;
  const { candidates: asked } = await byBurstPolicy(ctx, row, await askAgain(row, others, ctx.clock.now()));
  return ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    if (current?.state !== "starting") return null;
    const chosen = await firstAllowed(tx, ctx, current, asked, which.id);
    if (typeof chosen === "string") return null;
    const { plugin, offer } = chosen.candidate;
    const [moved] = await tx
      .update(attempt)
      .set({ provider: plugin.id, offer })
      .where(and(eq(attempt.id, which.id), eq(attempt.state, "launching")))
      .returning();
    if (!moved) return null;
    const where = `${offer.location} at ${plugin.title}`;
    await note(tx, ctx, current, `${failureText(titleOf(ctx, which.provider), failure)}. Next offer: ${where}`);
    return { attempt: moved, rest: chosen.rest };
  });
}

/** The same candidates, with those whose price has expired as their providers offer them now. */
async function askAgain(row: JobRow, candidates: readonly Candidate[], now: number): Promise<Candidate[]> {
  const answers = new Map<string, Promise<Offer[]>>();
  const current: Candidate[] = [];
  for (const candidate of candidates) {
    const { plugin, provider, offer } = candidate;
    if (isCurrent(offer, now)) {
      current.push(candidate);
      continue;
    }
    const asked = answers.get(plugin.id) ?? provider.offers(anyPrice(row.spec.need)).catch(() => []);
    answers.set(plugin.id, asked);
    const fresh = (await asked).find((one) => one.id === offer.id && one.available);
    if (fresh) current.push({ ...candidate, offer: fresh });
  }
  return current;
}

/** Stores the handle of a launch. An attempt that ended meanwhile keeps it too: it is needed to terminate the work. */
async function launched(ctx: Ctx, row: JobRow, which: AttemptRow, handle: Handle): Promise<void> {
  await ctx.write(async (tx) => {
    const [mine] = await tx.select().from(attempt).where(eq(attempt.id, which.id)).limit(1);
    if (!mine) return;
    const state = mine.state === "launching" ? ("starting" as const) : mine.state;
    await tx
      .update(attempt)
      .set({ handle, state, startedAt: mine.startedAt ?? ctx.clock.now() })
      .where(eq(attempt.id, mine.id));
    await tx.update(job).set({ leaseToken: null, leaseUntil: 0 }).where(eq(job.id, row.id));
  });
}

/** How long a job asks a provider of rented machines for nothing that had no capacity: longer each time. */
async function capacityWaitMs(tx: Db, ctx: Ctx, row: JobRow): Promise<number> {
  const [before] = await tx
    .select({ n: sql<number>`count(*)` })
    .from(attempt)
    .where(
      and(
        eq(attempt.jobId, row.id),
        eq(attempt.outcome, "no_capacity"),
        sql`${attempt.createdAt} > ${ctx.clock.now() - 1_800_000}`,
      ),
    );
  return Math.min(MAX_CAPACITY_WAIT_MS, RENTED_WAIT_MS * 2 ** Math.min(10, before?.n ?? 0));
}

/** The last refusal of each provider in a launch. */
type Refusals = ReadonlyMap<string, Failure>;

/**
 * Applies a launch that failed: the job returns to the queue, or fails as the table of reasons says. Providers of
 * rented machines that refused are not asked for a while; own machines and other providers are tried at once.
 */
async function launchFailed(
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
  failure: Failure,
  refusals: Refusals,
): Promise<void> {
  const isRented = (id: string) => ctx.compute.get(id)?.plugin.capabilities.priced ?? false;
  const messages = await ctx.write(async (tx) => {
    const current = await jobIn(tx, row.id);
    const [mine] = await tx.select().from(attempt).where(eq(attempt.id, which.id)).limit(1);
    if (!current || mine?.state !== "launching") return [];
    const reason = launchReason(failure.reason);
    const after = REASONS[reason].retry ? afterLaunchFailure(failure.kind) : "fail";
    const priced = isRented(which.provider);
    const text = priced ? failureText(titleOf(ctx, which.provider), failure) : failure.message;
    if ((after === "next" || after === "wait") && current.state === "starting") {
      const refused = after === "next";
      const outcome = !refused ? "launch_failed" : failure.kind === "no_capacity" ? "no_capacity" : "launch_refused";
      const wait = refused && priced ? 0 : (failure.retryAfterMs ?? WAIT_MS);
      const closedMs = refused ? await capacityWaitMs(tx, ctx, current) : 0;
      for (const [provider, { retryAfterMs }] of refused ? refusals : [])
        if (isRented(provider)) closeProvider(ctx, row.id, provider, retryAfterMs ?? closedMs);
      await endAttempt(tx, ctx, current, mine, { outcome, detail: text, neverRan: refused });
      const progress = { ...current.progress, waiting: text };
      const message = await move(tx, ctx, current, "queued", { notBefore: ctx.clock.now() + wait, progress });
      return message ? [message] : [];
    }
    return attemptFailed(tx, ctx, current, mine, {
      reason,
      message: `The attempt could not be launched: ${text}`,
      retry: after !== "fail",
    });
  });
  emitAll(ctx.bus, messages);
}

/**
 * Launches a stored attempt; safe to repeat, because its id is the key. The outcome is applied only if the attempt has
 * not ended.
 * @param rest offers to try next, in this order, when there is no capacity
 */
export async function launchAttempt(
  ctx: Ctx,
  row: JobRow,
  which: AttemptRow,
  token: string,
  rest: readonly Candidate[] = [],
): Promise<void> {
  let at = { attempt: which, rest };
  const refusals = new Map<string, Failure>();
  for (;;) {
    ctx.failPoint("launch.before");
    const answer = await launchOnce(ctx, row, at.attempt, token);
    ctx.failPoint("launch.started");
    if (!isFailure(answer)) return launched(ctx, row, at.attempt, answer);
    await noteFailure(ctx, at.attempt.provider, "launch", answer);
    refusals.set(at.attempt.provider, answer);
    const next =
      afterLaunchFailure(answer.kind) === "next" && REASONS[launchReason(answer.reason)].retry
        ? await moveOn(ctx, row, at.attempt, answer, at.rest)
        : null;
    if (!next) return launchFailed(ctx, row, at.attempt, answer, refusals);
    at = next;
  }
}
