/**
 * Forwards the audit log in the background. The position of each destination is stored after its entries were sent:
 * a killed server repeats some and loses none, and an unreachable receiver only makes the position wait.
 */
import { and, asc, eq, gt } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { auditForward, auditLog } from "../../db/schema/audit.ts";
import type { ForwardRow } from "./model.ts";
import { failureOf, sendEntries } from "./send.ts";

/** How often the log is looked at. Entries are written inside of other transactions, which announce nothing. */
const LOOK_MS = 2_000;
/** Entries of one message or connection, all that is in memory. */
const BATCH = 100;
const FIRST_WAIT_MS = 2_000;
const MAX_WAIT_MS = 300_000;

const waitAfter = (attempts: number) => Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempts - 1, 20));

/** Stores what an attempt led to, unless the destination was changed in between. */
async function record(ctx: Ctx, row: ForwardRow, values: Partial<ForwardRow>): Promise<void> {
  await ctx.write((tx) =>
    tx
      .update(auditForward)
      .set(values)
      .where(and(eq(auditForward.kind, row.kind), eq(auditForward.updatedAt, row.updatedAt))),
  );
}

/** Sends the next entries of a destination. @returns true when there may be more */
async function step(ctx: Ctx, row: ForwardRow): Promise<boolean> {
  const entries = await ctx.db
    .select()
    .from(auditLog)
    .where(gt(auditLog.seq, row.position))
    .orderBy(asc(auditLog.seq))
    .limit(BATCH);
  const last = entries.at(-1);
  if (!last) return false;
  const failure = await sendEntries(ctx, row, entries).then(() => null, failureOf);
  if (ctx.signal.aborted && failure !== null) return false;
  const now = ctx.clock.now();
  if (failure !== null) {
    const attempts = row.attempts + 1;
    ctx.log("warn", "the audit log could not be forwarded; it is tried again", {
      to: row.kind,
      position: row.position,
      attempts,
      error: failure,
    });
    await record(ctx, row, { attempts, nextAt: now + waitAfter(attempts), lastError: failure, lastErrorAt: now });
    return false;
  }
  ctx.failPoint("audit.forwarded");
  if (row.attempts > 0) ctx.log("info", "the audit log is forwarded again", { to: row.kind, position: last.seq });
  await record(ctx, row, { position: last.seq, attempts: 0, nextAt: now, lastError: null, lastSentAt: now });
  return entries.length === BATCH;
}

/** One look at every destination. @returns milliseconds until the next; null = there is no destination */
async function look(ctx: Ctx): Promise<number | null> {
  const rows = await ctx.db.select().from(auditForward);
  if (rows.length === 0) return null;
  const now = ctx.clock.now();
  const more = await Promise.all(rows.map((row) => row.nextAt <= now && step(ctx, row)));
  return more.includes(true) ? 0 : LOOK_MS;
}

/** Starts forwarding. @returns stops it; what was not sent waits */
export function startForwarding(ctx: Ctx): () => Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ctx.signal]);
  let wake = () => {};
  const off = ctx.bus.on("audit.forwarding", () => wake());
  const running = (async () => {
    while (!signal.aborted) {
      const woken = new AbortController();
      wake = () => woken.abort();
      const next = await look(ctx).catch((cause) => {
        if (!signal.aborted) ctx.log("error", "the audit log could not be forwarded", { cause });
        return LOOK_MS;
      });
      const either = AbortSignal.any([woken.signal, signal]);
      if (next !== null) await ctx.clock.sleep(next, either);
      else if (!either.aborted)
        await new Promise((resolve) => either.addEventListener("abort", resolve, { once: true }));
    }
  })();
  return async () => {
    off();
    stop.abort();
    await running;
  };
}
