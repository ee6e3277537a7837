/** A database without quotas: after the upgrade, the bytes of its datasets are counted. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { migrate } from "../../src/db/migrate.ts";

const MIGRATIONS = join(import.meta.dir, "../../migrations");

test("rows of datasets that are there count the bytes of their file; failed and deleted ones count nothing", async () => {
  const dir = mkdtempSync(join(tmpdir(), "ftl-migrate-"));
  const client = createClient({ url: `file:${join(dir, "lab.db")}` });
  try {
    const journal = JSON.parse(readFileSync(join(MIGRATIONS, "meta/_journal.json"), "utf8")) as {
      entries: { tag: string }[];
    };
    const before = join(dir, "before");
    mkdirSync(join(before, "meta"), { recursive: true });
    const entries = journal.entries.slice(
      0,
      journal.entries.findIndex(({ tag }) => tag === "0001_quotas"),
    );
    writeFileSync(join(before, "meta/_journal.json"), JSON.stringify({ ...journal, entries }));
    for (const { tag } of entries) copyFileSync(join(MIGRATIONS, `${tag}.sql`), join(before, `${tag}.sql`));
    await migrate(client, before);
    await client.execute(
      "insert into file (id, org, filename, purpose, bytes, sha256, status, created_by, created_at) values ('f', 'o', 'x', 'fine-tune', 700, '', 'processed', 'u', 1)",
    );
    for (const [id, deleted] of [
      ["live", null],
      ["gone", 5],
    ] as const)
      await client.execute({
        sql: "insert into dataset (id, org, name, created_by, created_at, deleted_at) values (?, 'o', 'd', 'u', 1, ?)",
        args: [id, deleted],
      });
    for (const [id, dataset, number, status] of [
      ["ready", "live", 1, "ready"],
      ["failed", "live", 2, "failed"],
      ["validating", "live", 3, "validating"],
      ["deleted", "gone", 1, "ready"],
    ] as const)
      await client.execute({
        sql: "insert into dataset_version (id, org, dataset_id, number, file_id, status, split_seed, holdout_fraction_ppm, created_at) values (?, 'o', ?, ?, 'f', ?, 1, 0, 1)",
        args: [id, dataset, number, status],
      });
    expect(await migrate(client, MIGRATIONS)).toBeGreaterThan(0);
    const { rows } = await client.execute("select id, bytes from dataset_version order by id");
    expect(rows.map((row) => `${row.id} ${row.bytes}`)).toEqual([
      "deleted 0",
      "failed 0",
      "ready 700",
      "validating 700",
    ]);
  } finally {
    client.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
