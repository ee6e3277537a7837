/** Writes log lines in bulk, and deletes the oldest lines of a job beyond a limit. */
import { sql } from "drizzle-orm";
import type { LogLevel } from "../../contract/trainer.ts";
import { sqlJsonParts } from "../../db/json.ts";
import type { Db } from "../../db/types.ts";
import { plainLine } from "../../lib/text/names.ts";
import { cutText } from "../../lib/text/well-formed.ts";
import type { Draft } from "./state.ts";

/** Most stored lines of a job. */
export const MAX_LOG_LINES = 200_000;
/** Lines are deleted in pieces of this size, so that not every batch deletes. */
const TRIM_LINES = 10_000;
/** Longest message in characters; the protocol allows a line of 8 KiB. */
const MAX_MESSAGE = 8192;

export interface NewLine {
  at: number;
  level: LogLevel;
  message: string;
}

/** A stored line in streams and pages. Times in milliseconds. */
export interface LogLine {
  id: number;
  at: number;
  level: string;
  message: string;
}

/** A message cut to `max` characters. */
export function cutMessage(message: string, max = MAX_MESSAGE): string {
  return message.length <= max ? message : `${cutText(message, max - 1)}…`;
}

/** A message as stored: without terminal control sequences, and cut. */
export function plainMessage(message: string): string {
  return cutMessage(plainLine(cutText(message, MAX_MESSAGE * 4)));
}

/**
 * Stores the lines of a batch. Returns them with their ids, and whether older lines were deleted.
 * @param limit most stored lines of a job (tests)
 */
export async function writeLogs(
  tx: Db,
  draft: Draft,
  batch: { jobId: string; attemptId: string; batchId: number; lines: NewLine[] },
  limit = MAX_LOG_LINES,
): Promise<{ lines: LogLine[]; trimmed: boolean }> {
  if (batch.lines.length === 0) return { lines: [], trimmed: false };
  const rows = batch.lines.map((line) => [line.at, line.level, line.message]);
  let last = 0;
  for (const part of sqlJsonParts(rows)) {
    const result = await tx.run(sql`
      insert into log_line (job_id, attempt_id, batch_id, at, level, message)
      select ${batch.jobId}, ${batch.attemptId}, ${batch.batchId}, value->>0, value->>1, value->>2
      from json_each(${part})`);
    last = Number(result.lastInsertRowid);
  }
  // There is one writer, so the ids of one transaction are consecutive, and the last id is known.
  const first = last - rows.length + 1;
  const lines = batch.lines.map((line, index) => ({ id: first + index, ...line }));
  await tx.run(
    sql`update batch set first_log = ${first}, last_log = ${first + rows.length - 1} where id = ${batch.batchId}`,
  );

  let count = draft.logs(batch.jobId);
  if (count === undefined) {
    const [counted] = await tx.all<{ n: number }>(
      sql`select count(*) as n from log_line where job_id = ${batch.jobId}`,
    );
    count = counted?.n ?? rows.length;
  } else count += rows.length;
  const piece = Math.min(TRIM_LINES, Math.ceil(limit / 10));
  const trimmed = count > limit + piece;
  if (trimmed) {
    await tx.run(sql`delete from log_line where job_id = ${batch.jobId} and id < (
      select id from log_line where job_id = ${batch.jobId} order by id desc limit 1 offset ${limit - 1})`);
    count = limit;
  }
  draft.setLogs(batch.jobId, count);
  return { lines, trimmed };
}
