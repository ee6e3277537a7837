/** Carries out checks in the background. The table is the queue: a check that a restart interrupted starts again. */
import { and, asc, eq, notInArray } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { knownEnabled, moderationSettings } from "../accounts/restrictions/requests.ts";
import { forgetRestrictions, lift, restrict } from "../accounts/restrictions/service.ts";
import { type Ctx, perContext, systemActor } from "../ctx.ts";
import { moderationCheck } from "../db/schema/moderation.ts";
import { AppError } from "../errors.ts";
import { workQueue } from "../lib/background/work-queue.ts";
import { emitAll } from "../lib/bus.ts";
import { insertCase } from "./cases.ts";
import { checkVersion, type Found, versionFor } from "./dataset-check.ts";
import type { CheckRow, Finding } from "./model.ts";
import { checkModel, endModelCheck, nextModelCheck, withdrawUnwanted } from "./model-check.ts";
import { heldNotice } from "./notices.ts";
import { eraseWaiting } from "./removal.ts";

/** Times that a check is tried; the last failure goes to a reviewer. */
const TRIES = 3;
const RETRY_MS = 20_000;
const PROGRESS_MS = 1000;

async function nextVersionCheck(ctx: Ctx, running: string[]): Promise<CheckRow | null> {
  const [row] = await ctx.db
    .select()
    .from(moderationCheck)
    .where(
      and(
        eq(moderationCheck.state, "waiting"),
        eq(moderationCheck.object, "dataset_version"),
        notInArray(moderationCheck.id, running),
      ),
    )
    .orderBy(asc(moderationCheck.createdAt))
    .limit(1);
  return row ?? null;
}

/** The checks of dataset versions that wait and run. */
const versionChecks = perContext((ctx) =>
  workQueue<CheckRow>(ctx, {
    what: "dataset versions to check",
    atOnce: 1,
    next: (running) => nextVersionCheck(ctx, running),
    run: (row, signal) => runVersion(ctx, row, signal),
  }),
);

/** The checks of models whose endpoint is ready, or is not wanted any more. */
const modelChecks = perContext((ctx) =>
  workQueue<CheckRow>(ctx, {
    what: "models to check",
    atOnce: 2,
    next: (running) => nextModelCheck(ctx, running),
    run: (row, signal) => runModel(ctx, row, signal),
  }),
);

/** The finding of a check that could not be made. */
const failureOf = (message: string): Finding => ({
  rule: null,
  rule_name: "The check failed",
  rule_version: null,
  category: "other",
  score: 0,
  count: 1,
  split: null,
  row: null,
  part: "check",
  prompt: null,
  excerpt: { before: "", match: message, after: "" },
});

/** Stores how far a check is, from time to time. */
function progressOf(ctx: Ctx, row: CheckRow): (done: number) => void {
  let last = ctx.clock.monotonic();
  return (done) => {
    const now = ctx.clock.monotonic();
    if (now - last < PROGRESS_MS) return;
    last = now;
    void ctx
      .write((tx) => tx.update(moderationCheck).set({ done }).where(eq(moderationCheck.id, row.id)), { relaxed: true })
      .catch((cause) => ctx.log("warn", "progress of a check was not stored", { cause }));
  };
}

/**
 * Runs a check. One that fails is tried again later.
 * @returns what was found, or why the last try failed; null when the check stays in the queue
 */
async function attempt<T>(
  ctx: Ctx,
  row: CheckRow,
  signal: AbortSignal,
  check: (options: { signal: AbortSignal; onProgress: (done: number) => void }) => Promise<T>,
): Promise<{ found: T } | { failure: string } | null> {
  try {
    return { found: await check({ signal, onProgress: progressOf(ctx, row) }) };
  } catch (error) {
    // The server is stopping.
    if (signal.aborted) return null;
    const failure = error instanceof AppError ? error.message : "An error of the server; its log has the details.";
    ctx.log("error", "a moderation check failed", { check: row.id, subject: row.subject, cause: error });
    if (row.tries + 1 >= TRIES) return { failure };
    const again = { tries: row.tries + 1, error: failure };
    await ctx.write((tx) => tx.update(moderationCheck).set(again).where(eq(moderationCheck.id, row.id)));
    await ctx.clock.sleep(RETRY_MS, signal);
    return null;
  }
}

async function runVersion(ctx: Ctx, row: CheckRow, signal: AbortSignal): Promise<void> {
  const ended = await attempt(ctx, row, signal, (options) => checkVersion(ctx, row, options));
  if (!ended) return;
  if ("found" in ended) return endVersion(ctx, row, ended.found, null);
  const findings = [failureOf(ended.failure)];
  return endVersion(ctx, row, { findings, flagged: 0, hold: true, done: row.done }, ended.failure);
}

async function runModel(ctx: Ctx, row: CheckRow, signal: AbortSignal): Promise<void> {
  if (await withdrawUnwanted(ctx, row)) return;
  const ended = await attempt(ctx, row, signal, (options) => checkModel(ctx, row, options));
  if (!ended) return;
  if ("found" in ended) return endModelCheck(ctx, row, ended.found, null);
  return endModelCheck(ctx, row, { findings: [failureOf(ended.failure)], flagged: 0, rules: [] }, ended.failure);
}

/** Stores the end of a check of a dataset version, with a case when something was found. */
async function endVersion(ctx: Ctx, row: CheckRow, found: Found, error: string | null): Promise<void> {
  const version = await versionFor(ctx, row.subject);
  const flagged = version !== null && found.findings.length > 0;
  const state = error !== null ? "failed" : flagged ? "flagged" : "passed";
  const messages = await ctx.write(async (tx) => {
    const ended = { state, error, done: found.done, total: found.done, finishedAt: ctx.clock.now() } as const;
    await tx.update(moderationCheck).set(ended).where(eq(moderationCheck.id, row.id));
    if (!version || !flagged) {
      await lift(tx, row.subject);
      return [];
    }
    const name = `${version.name}, version ${version.number}`;
    const of = { org: version.org, object: "dataset_version", subject: version.id, name, hash: version.hash } as const;
    const { findings } = found;
    const made = await insertCase(tx, ctx, {
      ...of,
      datasetId: version.datasetId,
      ownerId: version.createdBy,
      source: "check",
      findings,
      flagged: found.flagged,
    });
    await audit(tx, ctx, systemActor(version.org), "moderation_case.create", made.id, {
      subject: version.id,
      categories: made.categories,
      flagged: found.flagged,
      held: found.hold,
    });
    if (!found.hold) {
      await lift(tx, version.id);
      return [];
    }
    const reason = "its content was flagged, and a reviewer has to decide.";
    await restrict(tx, ctx, { ...of, kind: "held", reason, caseId: made.id });
    return [await heldNotice(tx, ctx, row, made.id, name)];
  });
  await forgetRestrictions(ctx);
  emitAll(ctx.bus, messages);
  ctx.bus.emit("moderation.changed", { org: row.org });
  ctx.bus.emit("dataset.changed", { org: row.org, datasetId: version?.datasetId ?? "", versionId: row.subject });
}

/**
 * Continues what waits: checks, and content to erase. Later checks start when one is requested; nothing runs in
 * between, and nothing at all while moderation is off. @returns the function that stops it
 */
export function startModeration(ctx: Ctx): () => void {
  const kick = () => {
    versionChecks(ctx).kick();
    modelChecks(ctx).kick();
  };
  void eraseWaiting(ctx)
    .then(() => moderationSettings(ctx))
    .then(({ enabled }) => {
      if (enabled) kick();
    })
    .catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "moderation could not be continued", { cause });
    });
  const stops = [
    ctx.bus.on("moderation.requested", kick),
    // An endpoint became ready, or is not wanted any more.
    ctx.bus.on("deployment.changed", () => {
      if (knownEnabled(ctx)) modelChecks(ctx).kick();
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
