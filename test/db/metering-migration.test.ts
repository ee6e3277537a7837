/** A stored copy of a database with usage lines: after the upgrade, intervals have the same sums. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Client, createClient } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import { verifyLedger } from "../../src/billing/ledger/verify.ts";
import { migrate } from "../../src/db/migrate.ts";
import { newUsageBook, readUsage } from "../../src/training/queue/usage.ts";

const STORED = join(import.meta.dir, "../fixtures/db/usage-lines.db.gz");
const NEXT = Date.UTC(2026, 11, 1);
let dir: string;
let client: Client;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "ftl-metering-"));
  writeFileSync(join(dir, "lab.db"), Bun.gunzipSync(readFileSync(STORED)));
  client = createClient({ url: `file:${join(dir, "lab.db")}` });
});
afterAll(() => {
  client.close();
  rmSync(dir, { recursive: true, force: true });
});

/** Rows as plain objects with numbers. */
async function read(sql: string): Promise<unknown> {
  const { rows } = await client.execute(sql);
  return rows.map((row) => JSON.parse(JSON.stringify(row)));
}

test("sums by team, user, job, kind and provider are the same after the upgrade, and months with running work go on", async () => {
  const groups = ["org", "user_id", "job_id", "kind", "provider"];
  const before = new Map<string, unknown>();
  for (const group of groups)
    before.set(
      group,
      await read(`select ${group} as "group", count(*) as attempts, sum(duration_ms) as ms, sum(tokens) as tokens,
        sum(iif(gpus > 0, gpus * (duration_ms / 1000), 0)) as gpu_seconds,
        cast(round(sum(round(cost_usd * 1000000))) as integer) as micros from usage_line group by 1 order by 1`),
    );
  expect(await migrate(client, join(import.meta.dir, "../../migrations"))).toBeGreaterThan(0);
  for (const group of groups)
    expect(
      await read(`select ${group} as "group", count(distinct attempt_id) as attempts,
        sum(iif(meter <> 'training_tokens', to_ms - from_ms, 0)) as ms,
        sum(iif(meter = 'training_tokens', quantity, 0)) as tokens,
        sum(iif(meter = 'gpu_seconds', quantity, 0)) as gpu_seconds, sum(micros) as micros
        from meter_interval group by 1 order by 1`),
    ).toEqual(before.get(group));
  // 3 h 25 min on 4 GPUs from 23:00 of the last day of October: 2 h 25 min of it are in November.
  const book = newUsageBook();
  await readUsage(drizzle(client), book, NEXT - 1);
  expect(book.months.get("org_b")).toBeCloseTo(4 * (2 + 25 / 60), 6);
  // A training that runs during the upgrade has begun to work: its time is charged from then on.
  expect(await read("select id, worked, metered_ms from attempt where state <> 'ended'")).toEqual([
    { id: "att_running", worked: 1, metered_ms: 0 },
  ]);
  const wrong = (await verifyLedger(drizzle(client))).flatMap(({ violations }) => violations);
  expect(wrong).toEqual([]);
});
