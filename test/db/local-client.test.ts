/** The quick reader answers as the database's own client does, and always sees what was just written. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@libsql/client";
import { quickReader } from "../../src/db/local-client.ts";
import { connect } from "../../src/db/open.ts";

const dir = mkdtempSync(join(tmpdir(), "ftl-reader-"));
const path = join(dir, "t.db");
let plain: Client;
let quick: Client;
beforeAll(async () => {
  plain = await connect(`file:${path}`);
  await plain.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL, c BLOB)");
  await plain.execute({
    sql: "INSERT INTO t VALUES (1, 'one', 1.5, ?), (2, NULL, NULL, NULL)",
    args: [new Uint8Array([1, 2, 255])],
  });
  quick = quickReader(path, await connect(`file:${path}`));
});
afterAll(() => {
  plain.close();
  quick.close();
  rmSync(dir, { recursive: true });
});

test.each([
  ["all types", "SELECT * FROM t ORDER BY id", []],
  ["arguments of every kind", "SELECT ?, ?, ?, ? AS d", ["x", 2.5, null, true]],
  ["two columns of one name", "SELECT t.id, u.id FROM t JOIN t u ON u.id <> t.id ORDER BY t.id", []],
  ["no rows", "SELECT * FROM t WHERE id > 100", []],
  ["a large whole number", "SELECT 1700000000000 AS at", []],
  ["a pragma", "PRAGMA table_info(t)", []],
])("%s: the same columns, values by number and values by name", async (_what, sql, args) => {
  const [expected, found] = await Promise.all([plain.execute({ sql, args }), quick.execute({ sql, args })]);
  expect(found.columns).toEqual(expected.columns);
  expect(found.rows.map((row) => Object.entries(row))).toEqual(expected.rows.map((row) => Object.entries(row)));
  const numbered = (rows: typeof found.rows) => rows.map((row) => Array.prototype.slice.call(row));
  expect(numbered(found.rows)).toEqual(numbered(expected.rows));
});

test("a statement that was used before sees every later commit, also after a change of the table", async () => {
  const count = async () => Number((await quick.execute("SELECT count(*) AS n FROM t")).rows[0]?.n);
  for (let i = 0; i < 20; i++) {
    const before = await count();
    await plain.execute({ sql: "INSERT INTO t (a) VALUES (?)", args: [`row ${i}`] });
    expect(await count()).toBe(before + 1);
  }
  await quick.execute("SELECT * FROM t LIMIT 1");
  await plain.execute("ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'new'");
  const after = await quick.execute("SELECT * FROM t LIMIT 1");
  expect(after.rows[0]?.d).toBe("new");
});

test("a wrong query and a missing value are errors", async () => {
  await expect(quick.execute("SELECT x FROM nowhere")).rejects.toThrow(/no such table/);
  await expect(quick.execute({ sql: "SELECT ?", args: [undefined as unknown as null] })).rejects.toThrow(/undefined/);
});
