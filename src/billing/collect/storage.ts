/**
 * Measures what is stored, once in every hour that the server runs: the rows that the quota counts, by owner and kind.
 * An hour in which it never ran is not charged.
 */
import { type SQL, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { recordUse } from "../ledger/record.ts";
import { cursorOf, moveCursor } from "./cursors.ts";

const HOUR_MS = 3_600_000;

/** What is stored, as `org`, `owner` and `bytes`; the same rows as in src/accounts/quotas/service.ts. */
const KINDS: Record<string, (now: number) => SQL> = {
  files: () => sql`select org, created_by as owner, bytes from file where deleted_at is null`,
  uploads: (now) =>
    sql`select org, created_by as owner, bytes from upload where status = 'pending' and expires_at > ${now}`,
  datasets: () => sql`select v.org, d.created_by as owner, v.bytes from dataset_version v
    join dataset d on d.id = v.dataset_id where v.bytes > 0`,
  answers: () => sql`select org, user_id as owner, bytes from stored_answer`,
  checkpoints: () => artifacts(sql`a.kind = 'checkpoint'`),
  models: () => artifacts(sql`a.kind in ('adapter', 'model')`),
  exports: () => artifacts(sql`a.kind in ('merged', 'gguf', 'report')`),
};

const artifacts = (which: SQL) => sql`select a.org, j.created_by as owner, a.bytes from artifact a
  left join job j on j.id = a.job_id where a.status in ('uploading', 'complete') and ${which}`;

interface Stored {
  org: string;
  owner: string | null;
  kind: string;
  bytes: number;
}

async function measure(db: Db, now: number): Promise<Stored[]> {
  const found: Stored[] = [];
  for (const [kind, rows] of Object.entries(KINDS))
    found.push(
      ...(await db.all<Stored>(sql`select org, owner, ${kind} as kind, sum(bytes) as bytes from (${rows(now)})
        group by org, owner having sum(bytes) > 0`)),
    );
  return found;
}

/** Records the current hour unless it was recorded: one row for each owner and kind, a team in one transaction. */
export async function collectStorage(ctx: Ctx): Promise<void> {
  const now = ctx.clock.now();
  const hour = Math.floor(now / HOUR_MS) * HOUR_MS;
  if (((await cursorOf(ctx.db, "storage")) ?? 0) >= hour) return;
  for (const [org, rows] of Map.groupBy(await measure(ctx.db, now), (row) => row.org)) {
    await ctx.write(async (tx) => {
      for (const { owner, kind, bytes } of rows)
        await recordUse(tx, now, {
          source: `storage ${org} ${owner ?? "-"} ${kind} ${hour}`,
          org,
          userId: owner,
          keyId: null,
          kind: "storage",
          meter: "byte_hours",
          jobId: null,
          attemptId: null,
          deploymentId: null,
          sweepId: null,
          model: kind,
          provider: null,
          gpuModel: null,
          from: hour,
          to: hour + HOUR_MS,
          quantity: bytes,
          free: null,
          costMicros: null,
        });
    });
    ctx.failPoint("meter.storage");
  }
  await ctx.write((tx) => moveCursor(tx, "storage", hour));
}
