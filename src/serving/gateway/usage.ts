/** Usage rows of requests: gathered in memory and written in batches, so that no answer waits for the disk. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import type { inference } from "../../db/schema/gateway.ts";

type UsageRow = typeof inference.$inferInsert;

const FLUSH_MS = 500;
/**
 * Small batches: a write holds up the answers under way for as long as its rows take, 16 rows about a third of a
 * millisecond.
 */
const FLUSH_ROWS = 16;
/** Rows kept while the database does not take them; beyond that the oldest go, with a word in the log. */
const MAX_WAITING = 50_000;

interface Gathered {
  rows: UsageRow[];
  timer: ReturnType<typeof setTimeout> | null;
  writing: Promise<void>;
}
const gathered = new WeakMap<Ctx, Gathered>();

function gatheredOf(ctx: Ctx): Gathered {
  let found = gathered.get(ctx);
  if (!found) {
    found = { rows: [], timer: null, writing: Promise.resolve() };
    gathered.set(ctx, found);
  }
  return found;
}

/** Takes a row; it is in the database about half a second later. */
export function recordUsage(ctx: Ctx, row: UsageRow): void {
  const all = gatheredOf(ctx);
  all.rows.push(row);
  if (all.rows.length >= FLUSH_ROWS) void flushUsage(ctx);
  else
    all.timer ??= setTimeout(() => {
      all.timer = null;
      void flushUsage(ctx);
    }, FLUSH_MS);
}

/**
 * Writes what is gathered; call it before the server stops. Never throws: rows that were not taken wait for the next
 * time.
 */
export function flushUsage(ctx: Ctx): Promise<void> {
  const all = gatheredOf(ctx);
  if (all.timer) clearTimeout(all.timer);
  all.timer = null;
  all.writing = all.writing.then(async () => {
    const rows = all.rows.splice(0);
    if (rows.length === 0) return;
    try {
      await writeRows(ctx, rows);
    } catch (cause) {
      const lost = Math.max(0, rows.length + all.rows.length - MAX_WAITING);
      all.rows.unshift(...rows.slice(lost));
      ctx.log("error", "usage rows not written, they are kept for the next try", { rows: rows.length, lost, cause });
      if (!ctx.signal.aborted) all.timer ??= setTimeout(() => void flushUsage(ctx), FLUSH_MS * 10);
    }
  });
  return all.writing;
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
    ]),
  );
  await ctx.write(
    (tx) =>
      tx.run(sql`insert into inference (id, org, user_id, key_id, model, deployment_id, at, status, streamed,
        prompt_tokens, completion_tokens, first_token_ms, total_ms, overhead_ms, finish)
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14
        from json_each(${packed})`),
    { relaxed: true },
  );
}
