/** Carries out pushes in the background. The table is the queue: a push that a restart interrupted continues. */
import { and, asc, eq, inArray, notInArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { notHeld } from "../../accounts/holds/service.ts";
import { type Actor, type Ctx, perContext, systemActor } from "../../ctx.ts";
import { hubPush } from "../../db/schema/pushes.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { emitAll } from "../../lib/bus.ts";
import { unseal } from "../../lib/sealed.ts";
import { clean } from "../../lib/text/redact.ts";
import { stayingModels, staysHereMessage } from "../../models/tuned/stays-local.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { filesOf, missingFiles, PASSPORT, type PushFile } from "./files.ts";
import type { Target } from "./hub.ts";
import type { PushRow } from "./model.ts";
import { filesAt, filesOfBranch, headOf, openRepository } from "./repository.ts";
import { uploadFiles } from "./upload.ts";

const AT_ONCE = 2;
const PROGRESS_MS = 500;
/** Times that everything is compared and sent again, after the other side was away. */
const ROUNDS = 3;

const OPEN = ["waiting", "running"] as const;

async function nextPush(ctx: Ctx, running: string[]): Promise<PushRow | null> {
  const [row] = await ctx.db
    .select()
    .from(hubPush)
    .where(and(inArray(hubPush.status, OPEN), notInArray(hubPush.id, running), notHeld(hubPush)))
    .orderBy(asc(hubPush.createdAt))
    .limit(1);
  return row ?? null;
}

/** The pushes that wait and run. What a stopped push has sent stays on the hub. */
export const pushQueue = perContext((ctx) =>
  workQueue<PushRow>(ctx, {
    what: "models to push",
    atOnce: AT_ONCE,
    next: (running) => nextPush(ctx, running),
    run: (row, signal) => carryOut(ctx, row, signal),
  }),
);

export const announcePush = (ctx: Ctx, row: PushRow) =>
  ctx.bus.emit("push.changed", { org: row.org, modelId: row.model });

/** Changes an unfinished push in a transaction. @returns whether it still was unfinished */
export async function updatePush(tx: Db, row: PushRow, values: Partial<PushRow>): Promise<boolean> {
  const unfinished = and(eq(hubPush.id, row.id), inArray(hubPush.status, OPEN));
  const changed = await tx.update(hubPush).set(values).where(unfinished).returning({ id: hubPush.id });
  return changed.length > 0;
}

/** Ends a push, deletes its token, and notifies its user. */
async function end(ctx: Ctx, row: PushRow, values: Partial<PushRow> & { status: "done" | "failed" }): Promise<void> {
  const done = values.status === "done";
  const message = await ctx.write(async (tx) => {
    const ended = { ...values, secret: null, finishedAt: ctx.clock.now() };
    if (!(await updatePush(tx, row, ended))) return null;
    const detail = { repository: row.repo, ...(done ? { commit: values.commit } : { error: values.error }) };
    await audit(tx, ctx, systemActor(row.org), done ? "model.push.finish" : "model.push.fail", row.id, detail);
    return recordEvent(tx, ctx, {
      org: row.org,
      type: done ? "model.push.succeeded" : "model.push.failed",
      subject: row.id,
      userId: row.createdBy,
      title: `Push to ${row.repo} ${done ? "finished" : "failed"}`,
      body: values.error ?? "",
      path: `/models/${encodeURIComponent(row.model)}#pushes`,
    });
  });
  announcePush(ctx, row);
  if (message) emitAll(ctx.bus, [message]);
}

/** The token of a push. @throws AppError `hub_changed`, `token_needed` */
function tokenOf(ctx: Ctx, row: PushRow): string {
  const { offline, hub_url, hub_token } = ctx.config;
  if (offline || hub_url !== row.hub)
    throw new AppError(
      "conflict",
      "hub_changed",
      `This installation no longer uses ${new URL(row.hub).host}, where this push goes. Push again.`,
    );
  const token = row.secret ? unseal(ctx.secret, sealedIn("push", row.id), row.secret) : row.ownToken ? null : hub_token;
  if (token) return token;
  throw new AppError("conflict", "token_needed", "The installation has no hub_token any more. Push with a token.");
}

async function carryOut(ctx: Ctx, row: PushRow, signal: AbortSignal): Promise<void> {
  try {
    const commit = await push(ctx, row, signal);
    await end(ctx, row, { status: "done", commit });
  } catch (cause) {
    // Canceled, or the server is stopping: then the row stays as it is, and the next start continues it.
    if (signal.aborted || ctx.signal.aborted) return;
    const known = cause instanceof AppError && cause.kind !== "internal";
    if (!known) ctx.log("error", "push failed", { push: row.id, cause });
    const error = known ? cause.message : `The push failed: ${clean(String(cause)).slice(0, 300)}`;
    await end(ctx, row, { status: "failed", error });
  }
}

const canceled = () => new AppError("conflict", "push_ended", "The push was canceled.");

/** Saves phase and bytes of a push, not more often than needed. */
function progressOf(ctx: Ctx, row: PushRow, files: PushFile[]) {
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const sent = new Map<string, number>();
  let savedAt = Number.NEGATIVE_INFINITY;
  const bytesDone = () => [...sent.values()].reduce((sum, bytes) => sum + bytes, 0);
  return {
    total,
    set(path: string, bytes: number) {
      sent.set(path, bytes);
      if (ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
      savedAt = ctx.clock.monotonic();
      void ctx
        .write((tx) => updatePush(tx, row, { bytesDone: bytesDone() }))
        .then(() => announcePush(ctx, row))
        .catch(() => {});
    },
    async phase(phase: PushRow["phase"]) {
      const values = { status: "running" as const, phase, bytesTotal: total, bytesDone: bytesDone() };
      const changed = await ctx.write((tx) => updatePush(tx, row, values));
      announcePush(ctx, row);
      if (!changed) throw canceled();
    },
  };
}
type Progress = ReturnType<typeof progressOf>;

/** One round: compares, sends what the hub lacks, and checks the result. @returns the commit */
async function round(ctx: Ctx, row: PushRow, target: Target, files: PushFile[], progress: Progress): Promise<string> {
  // The label may have come after the push.
  const read = { artifacts: [row.artifactId], base: "", runs: [] };
  const [staying = []] = await stayingModels(ctx.db, [read]);
  if (staying.length > 0) throw new AppError("forbidden", "model_stays_local", staysHereMessage(row.model));
  await openRepository(ctx, target, row.private);
  const missing = await missingFiles(files, await filesOfBranch(ctx, target));
  const lacking = new Set(missing.map(({ path }) => path));
  for (const { path, size } of files) progress.set(path, lacking.has(path) ? 0 : size);
  // The provenance is signed at a time, so it differs always; it is sent with other files, or when there is none.
  const changed = missing.some(({ path }) => path !== PASSPORT);
  const remote = changed ? null : await filesAt(ctx, target, target.branch);
  if (!changed && remote?.has(PASSPORT)) return headOf(ctx, target);
  await progress.phase("uploading");
  const commit = await uploadFiles(ctx, target, missing, {
    message: row.message,
    onBytes: progress.set,
    beforeCommit: () => progress.phase("committing"),
  });
  const stored = await filesAt(ctx, target, commit);
  const [wrong] = await missingFiles(missing, stored ?? new Map());
  if (wrong)
    throw new AppError(
      "unavailable",
      "hub_mismatch",
      `The hub does not have ${wrong.path} as it was sent: size or hash differ. Push again.`,
    );
  return commit;
}

async function push(ctx: Ctx, row: PushRow, signal: AbortSignal): Promise<string> {
  const target = { hub: row.hub, repo: row.repo, branch: row.branch, token: tokenOf(ctx, row), signal };
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy, role: "member" };
  const running = { status: "running" as const, phase: "checking" as const };
  if (!(await ctx.write((tx) => updatePush(tx, row, running)))) throw canceled();
  announcePush(ctx, row);
  const files = await filesOf(ctx, actor, row);
  const progress = progressOf(ctx, row, files);
  await progress.phase("checking");
  for (let tries = 1; ; tries++) {
    try {
      const commit = await round(ctx, row, target, files, progress);
      await ctx.write((tx) => updatePush(tx, row, { bytesDone: progress.total }));
      return commit;
    } catch (cause) {
      const temporary = cause instanceof AppError && cause.kind === "unavailable";
      if (!temporary || tries >= ROUNDS || signal.aborted) throw cause;
      ctx.log("warn", "push is tried again", { push: row.id, reason: cause.message });
    }
  }
}

/** Continues pushes after a start; running ones stop with the context. */
export function startPushes(ctx: Ctx): () => void {
  pushQueue(ctx).kick();
  const mayRun = async (ids: string[]) => {
    const rows = await ctx.db
      .select({ id: hubPush.id })
      .from(hubPush)
      .where(and(inArray(hubPush.id, ids), notHeld(hubPush)));
    return rows.map(({ id }) => id);
  };
  return ctx.bus.on("hold.changed", () => {
    pushQueue(ctx)
      .review(mayRun)
      .catch((cause) => ctx.log("error", "pushes of a suspended account could not be stopped", { cause }));
  });
}
