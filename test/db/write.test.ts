/** The writer queue on a real file: all or nothing, in order, and alive after every kind of failure. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@libsql/client";
import { sql } from "drizzle-orm";
import { quickWriter } from "../../src/db/local-client.ts";
import { connect } from "../../src/db/open.ts";
import type { Db } from "../../src/db/types.ts";
import { createWriter, type Writer } from "../../src/db/write.ts";

const dir = mkdtempSync(join(tmpdir(), "ftl-writer-"));
let count = 0;
let plain: Client;
let write: Writer;
let opened: number;
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  const path = join(dir, `${++count}.db`);
  plain = await connect(`file:${path}`);
  await plain.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b)");
  opened = 0;
  const open = async () => {
    opened++;
    return quickWriter(path, await connect(`file:${path}`), []);
  };
  const writer = createWriter(open, { busyMs: 300 });
  write = writer.write;
  closing.push(writer.close, async () => plain.close());
});
afterAll(async () => {
  for (const close of closing) await close();
  rmSync(dir, { recursive: true });
});

const add = (tx: Db, a: string, b: unknown = null) => tx.run(sql`insert into t (a, b) values (${a}, ${b})`);
const stored = async () => (await plain.execute("SELECT a FROM t ORDER BY id")).rows.map((row) => row.a);

test("a transaction sees its own rows, gives ids and counts, and is there after its commit", async () => {
  const found: unknown = await write(async (tx) => {
    const first = await add(tx, "one");
    const [returned] = await tx.all<{ id: number }>(sql`insert into t (a) values ('two') returning id`);
    const changed = await tx.run(sql`update t set b = 1`);
    return [
      first.lastInsertRowid,
      returned?.id,
      changed.rowsAffected,
      await tx.all(sql`select a, b from t order by a`),
    ];
  });
  expect(found).toEqual([
    1n,
    2,
    2,
    [
      { a: "one", b: 1 },
      { a: "two", b: 1 },
    ],
  ]);
  expect(await stored()).toEqual(["one", "two"]);
});

test.each([
  ["work that throws", async () => Promise.reject(new Error("no"))],
  ["a broken constraint", (tx: Db) => add(tx, "taken")],
  [
    "a broken constraint of a statement that returns rows",
    (tx: Db) => tx.all(sql`insert into t (a) values ('taken') returning id`),
  ],
  ["a value the database has no form for", (tx: Db) => add(tx, "x", Number.NaN)],
])("%s undoes the whole transaction, and the same statements work in the next one", async (_what, fail) => {
  await write((tx) => add(tx, "taken"));
  const failing = write(async (tx) => {
    await add(tx, "gone");
    await fail(tx);
  });
  const next = write((tx) => add(tx, "kept"));
  await expect(failing).rejects.toThrow();
  await next;
  expect(await stored()).toEqual(["taken", "kept"]);
  expect(opened).toBe(1);
});

test("transactions run one after the other in the order they were asked for", async () => {
  const names = Array.from({ length: 50 }, (_, n) => `row ${n}`);
  await Promise.all(
    names.map((name, n) =>
      write(async (tx) => {
        if (n % 3 === 0) await Bun.sleep(1);
        await add(tx, name);
      }),
    ),
  );
  expect(await stored()).toEqual(names);
});

test("a file locked by another says so, and the queue goes on with a fresh connection", async () => {
  const other = await plain.transaction("write");
  await expect(write((tx) => add(tx, "late"))).rejects.toMatchObject({ code: "database_busy" });
  await other.rollback();
  await write((tx) => add(tx, "now"));
  expect(await stored()).toEqual(["now"]);
  expect(opened).toBe(2);
});

test("a write waits for another to let go; the process does other things meanwhile, and the work runs once", async () => {
  const other = await plain.transaction("write");
  let ticks = 0;
  const timer = setInterval(() => ticks++, 10);
  let ran = 0;
  const waiting = write(async (tx) => {
    ran++;
    await add(tx, "patient");
  });
  await Bun.sleep(150);
  expect(ran).toBe(0);
  await other.rollback();
  await waiting;
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(5);
  expect([ran, opened]).toEqual([1, 1]);
  expect(await stored()).toEqual(["patient"]);
});

test("a relaxed commit changes how the disk is waited for, and only its own", async () => {
  const mode = (relaxed: boolean) =>
    write(async (tx) => (await tx.all<{ synchronous: number }>(sql`pragma synchronous`))[0]?.synchronous, { relaxed });
  expect([await mode(false), await mode(true), await mode(false)]).toEqual([2, 1, 2]);
});
