/** Usage rows of requests: buffered in memory and written in batches, so that no answer waits for the disk. */
import { sql } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { sqlJsonParts } from "../../db/json.ts";
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
  /** Whether a write of waiting rows failed. */
  again: boolean;
}
const bufferOf = perContext((): UsageBuffer => ({ rows: [], timer: null, writing: Promise.resolve(), again: false }));

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
      await writeRows(ctx, rows, buffer.again);
      buffer.again = false;
    } catch (cause) {
      const lost = Math.max(0, rows.length + buffer.rows.length - MAX_WAITING);
      buffer.rows.unshift(...rows.slice(lost));
      buffer.again = true;
      ctx.log("error", "usage rows not written; they are kept and written again", { rows: rows.length, lost, cause });
      if (!ctx.signal.aborted) buffer.timer ??= setTimeout(() => void flushUsage(ctx), FLUSH_MS * 10);
    }
  });
  return buffer.writing;
}

/** `again`: they may be there already, because the answer of a database server to the first try was lost. */
async function writeRows(ctx: Ctx, rows: UsageRow[], again: boolean): Promise<void> {
  const unknown = again
    ? sql`where not exists (select 1 from inference i
        where i.org = value ->> 1 and i.at = value ->> 6 and i.id = value ->> 0)`
    : sql``;
  const parts = sqlJsonParts(
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
    async (tx) => {
      for (const packed of parts)
        await tx.run(sql`insert into inference (id, org, user_id, key_id, model, deployment_id, at, status, streamed,
        prompt_tokens, completion_tokens, first_token_ms, total_ms, overhead_ms, finish, purpose)
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15
        from json_each(${packed}) ${unknown}`);
    },
    { relaxed: true },
  );
}
