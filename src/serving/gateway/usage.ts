/** Usage rows of requests: buffered in memory and written in batches, so that no answer waits for the disk. */
import { sql } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import type { inference } from "../../db/schema/gateway.ts";
import { countRequest } from "./counters.ts";

type UsageRow = typeof inference.$inferInsert;

const FLUSH_MS = 500;
/**
 * Small batches: a write delays the answers in progress for as long as its rows take; 16 rows take about a third of a
 * millisecond.
 */
const FLUSH_ROWS = 16;
/** Rows kept while the database does not accept them; beyond that the oldest are dropped, and the log says so. */
const MAX_WAITING = 50_000;

interface UsageBuffer {
  rows: UsageRow[];
  timer: ReturnType<typeof setTimeout> | null;
  writing: Promise<void>;
}
const bufferOf = perContext((): UsageBuffer => ({ rows: [], timer: null, writing: Promise.resolve() }));

/** Counts a request for monitoring and buffers its row; it is in the database about half a second later. */
export function recordUsage(ctx: Ctx, row: UsageRow): void {
  countRequest(ctx, row);
  const buffer = bufferOf(ctx);
  buffer.rows.push(row);
  if (buffer.rows.length >= FLUSH_ROWS) void flushUsage(ctx);
  else
    buffer.timer ??= setTimeout(() => {
      buffer.timer = null;
      void flushUsage(ctx);
    }, FLUSH_MS);
}

/**
 * Writes the buffered rows; call it before the server stops. Never throws: rows that could not be written stay in the
 * buffer.
 */
export function flushUsage(ctx: Ctx): Promise<void> {
  const buffer = bufferOf(ctx);
  if (buffer.timer) clearTimeout(buffer.timer);
  buffer.timer = null;
  buffer.writing = buffer.writing.then(async () => {
    const rows = buffer.rows.splice(0);
    if (rows.length === 0) return;
    try {
      await writeRows(ctx, rows);
    } catch (cause) {
      const lost = Math.max(0, rows.length + buffer.rows.length - MAX_WAITING);
      buffer.rows.unshift(...rows.slice(lost));
      ctx.log("error", "usage rows not written; they are kept and written again", { rows: rows.length, lost, cause });
      if (!ctx.signal.aborted) buffer.timer ??= setTimeout(() => void flushUsage(ctx), FLUSH_MS * 10);
    }
  });
  return buffer.writing;
}

async function writeRows(ctx: Ctx, rows: UsageRow[]): Promise<void> {
  const packed = sqlJson(
    rows.map((row) => [
      row.id,
      row.org,
      row.userId,
      row.keyId ?? null,
      row.model,
      row.deploymentId ?? null,
      row.at,
      row.status,
      row.streamed ? 1 : 0,
      row.promptTokens,
      row.completionTokens,
      row.firstTokenMs ?? null,
      row.totalMs,
      row.overheadMs ?? null,
      row.finish ?? null,
      row.purpose ?? null,
    ]),
  );
  await ctx.write(
    (tx) =>
      tx.run(sql`insert into inference (id, org, user_id, key_id, model, deployment_id, at, status, streamed,
        prompt_tokens, completion_tokens, first_token_ms, total_ms, overhead_ms, finish, purpose)
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15
        from json_each(${packed})`),
    { relaxed: true },
  );
}
