/**
 * JSON on its way into the database, and the repair of text that went in broken: looked at as bytes, since reading
 * broken text ends the process.
 */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import { sqliteTable } from "drizzle-orm/sqlite-core";
import { assetPath } from "../../src/assets.ts";
import { jsonText, sqlJson } from "../../src/db/json.ts";
import { migrate } from "../../src/db/migrate.ts";
import { connect } from "../../src/db/open.ts";
import { repairText } from "../../src/db/repair-text.ts";

async function withDatabase(work: (client: Client) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-json-"));
  const client = await connect(`file:${join(dir, "lab.db")}`);
  try {
    await work(client);
  } finally {
    client.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

const hexOf = async (client: Client, sql: string, args: (string | null)[] = []) =>
  (await client.execute({ sql, args })).rows.map((row) => row.hex);
const hex = (text: string) => Buffer.from(text).toString("hex").toUpperCase();

test("halves of surrogate pairs and NULs are U+FFFD in SQL, in values and keys; whole characters and words about escapes stay", async () => {
  await withDatabase(async (client) => {
    const value = ["a\ud800b", "\udc00", "🤗", "a\0b", "\\ud800", "\\\\ud800", { "k\ud800": 1 }];
    const values = await hexOf(client, "select hex(value) as hex from json_each(?) limit 6", [sqlJson(value)]);
    expect(values).toEqual(["a\ufffdb", "\ufffd", "🤗", "a\ufffdb", "\\ud800", "\\\\ud800"].map(hex));
    const keys = await hexOf(client, "select hex(key) as hex from json_each(?, '$[6]')", [sqlJson(value)]);
    expect(keys).toEqual([hex("k\ufffd")]);
  });
});

test("a column of JSON holds nothing that json_extract would break, and null as null", async () => {
  const t = sqliteTable("t", { data: jsonText("data").$type<{ a: string }>() });
  await withDatabase(async (client) => {
    await client.execute("create table t (data text)");
    await drizzle(client)
      .insert(t)
      .values([{ data: { a: "x\ud800" } }, { data: null }]);
    expect(await hexOf(client, "select hex(json_extract(data, '$.a')) as hex from t")).toEqual([hex("x\ufffd"), ""]);
    expect(await drizzle(client).select().from(t)).toEqual([{ data: { a: "x\ufffd" } }, { data: null }]);
  });
});

test("a bound text with half of a surrogate pair arrives as U+FFFD", async () => {
  await withDatabase(async (client) => {
    expect(await hexOf(client, "select hex(?) as hex", ["a\ud800"])).toEqual([hex("a\ufffd")]);
  });
});

test("the repair finds broken rows among many, leaves the others alone, and runs once", async () => {
  await withDatabase(async (client) => {
    await migrate(client, assetPath("migrations"));
    const lines = Array.from({ length: 50_000 }, (_, n) => (n % 10_000 === 0 ? "\ud83d half" : `한국어 line ${n} 🤗`));
    await client.execute({
      sql: `insert into log_line (job_id, attempt_id, batch_id, at, level, message)
        select 'j', 'a', 1, 1, 'info', value from json_each(?)`,
      args: [JSON.stringify(lines)],
    });
    const broken = "select count(*) as hex from log_line where instr(cast(message as blob), x'EDA0BD')";
    expect(await hexOf(client, broken)).toEqual([5]);
    expect(await repairText(client)).toBeNull();
    await client.execute("delete from installation where key = 'text_repaired_at'");
    const from = performance.now();
    expect(await repairText(client)).toBe(5);
    console.log(`repair of 50,000 log lines: ${Math.round(performance.now() - from)} ms`);
    expect(await hexOf(client, broken)).toEqual([0]);
    const { rows } = await client.execute("select message from log_line order by id");
    expect(rows.map((row) => row.message)).toEqual(lines.map((line) => line.toWellFormed()));
  });
});
