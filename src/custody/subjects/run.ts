/**
 * Carries out searches and erasures in the background, one at a time, and deletes reports in time. The table is the
 * queue: a search that a restart interrupted starts again, an erasure continues.
 */
import { and, asc, eq, inArray, lte, notInArray } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { subjectRequest } from "../../db/schema/archives.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { unseal } from "../../lib/sealed.ts";
import { erase } from "./erase.ts";
import type { SubjectRow } from "./model.ts";
import { removeHits, search, wantedOf } from "./search.ts";

const PROGRESS_MS = 500;
const EXPIRE_EVERY_MS = 600_000;

async function nextRequest(ctx: Ctx, running: string[]): Promise<SubjectRow | null> {
  const unfinished = inArray(subjectRequest.status, ["waiting", "running", "erasing"]);
  const [row] = await ctx.db
    .select()
    .from(subjectRequest)
    .where(and(unfinished, notInArray(subjectRequest.id, running)))
    .orderBy(asc(subjectRequest.createdAt))
    .limit(1);
  return row ?? null;
}

/** The searches and erasures that wait, and the one that runs. */
export const subjectQueue = perContext((ctx) =>
  workQueue<SubjectRow>(ctx, {
    what: "searches for a person",
    atOnce: 1,
    next: (running) => nextRequest(ctx, running),
    run: (row) => carryOut(ctx, row),
  }),
);

/** The terms of a request as they were typed. */
export const termsOf = (ctx: Ctx, { id, terms }: SubjectRow): string[] =>
  JSON.parse(unseal(ctx.secret, sealedIn("subject", id), terms)) as string[];

async function update(ctx: Ctx, { id, org }: SubjectRow, values: Partial<SubjectRow>): Promise<void> {
  await ctx.write((tx) => tx.update(subjectRequest).set(values).where(eq(subjectRequest.id, id)));
  ctx.bus.emit("subject.changed", { org, requestId: id });
}

async function carryOut(ctx: Ctx, row: SubjectRow): Promise<void> {
  try {
    if (row.status === "erasing") {
      const erasure = await erase(ctx, row, (so_far) => update(ctx, row, { erasure: so_far }));
      return await update(ctx, row, { erasure, status: "done", error: null });
    }
    await update(ctx, row, { status: "running", rowsDone: 0 });
    let savedAt = ctx.clock.monotonic();
    const found = await search(ctx, row, wantedOf(termsOf(ctx, row), row.match), (rowsDone, rowsTotal) => {
      if (ctx.clock.monotonic() - savedAt < PROGRESS_MS) return;
      savedAt = ctx.clock.monotonic();
      void update(ctx, row, { rowsDone, rowsTotal }).catch(() => {});
    });
    const { result, hits, rows } = found;
    const ended = { rowsDone: rows, rowsTotal: rows, finishedAt: ctx.clock.now() };
    await update(ctx, row, { ...ended, result, hits, status: "done", error: null });
  } catch (cause) {
    // The server is stopping: the row stays as it is, and the next start continues.
    if (ctx.signal.aborted) return;
    ctx.log("error", "a search for a person failed", { request: row.id, cause });
    const what = row.status === "erasing" ? "The erasure" : "The search";
    const error = `${what} failed because of a server error; the details are in the server log. Try it again.`;
    const status = row.status === "erasing" ? ("done" as const) : ("failed" as const);
    await update(ctx, row, { status, error, finishedAt: ctx.clock.now() });
  }
}

/** Deletes reports whose time is over. */
export async function expireSubjects(ctx: Ctx): Promise<void> {
  const old = and(lte(subjectRequest.expiresAt, ctx.clock.now()), inArray(subjectRequest.status, ["done", "failed"]));
  const rows = await ctx.write((tx) => tx.delete(subjectRequest).where(old).returning({ id: subjectRequest.id }));
  for (const { id } of rows) await removeHits(ctx, id);
  if (rows.length > 0) await ctx.emptyLog();
}

/** Continues after a start, and deletes reports in time. @returns a function that stops it */
export function startSubjects(ctx: Ctx): () => void {
  const expire = () =>
    void expireSubjects(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "reports about people were not deleted", { cause });
    });
  subjectQueue(ctx).kick();
  expire();
  const timer = setInterval(expire, EXPIRE_EVERY_MS);
  return () => clearInterval(timer);
}
