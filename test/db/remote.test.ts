/** The client of a libSQL server and the writer queue on it, against the real server, which is killed and restarted. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@libsql/client";
import { sql } from "drizzle-orm";
import { openDatabase } from "../../src/db/open.ts";
import { readDatabaseOwner } from "../../src/db/owner.ts";
import { type RemoteOptions, remoteClient } from "../../src/db/remote-client.ts";
import type { Db } from "../../src/db/types.ts";
import { type Sqld, sqldMissing, startSqld } from "../support/sqld.ts";

const suite = sqldMissing ? describe.skip : describe;
const dir = mkdtempSync(join(tmpdir(), "ftl-remote-"));
let server: Sqld;
let name = "";
let count = 0;
const opened: { close(): unknown }[] = [];

beforeAll(async () => {
  if (sqldMissing) return console.log(`skipped: ${sqldMissing}`);
  server = await startSqld();
});
beforeEach(async () => {
  if (sqldMissing) return;
  name = `d${++count}`;
  await server.create(name);
});
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});
afterAll(async () => {
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** A data directory of its own for each name. */
function dataDir(of: string): string {
  const path = join(dir, name, of);
  mkdirSync(join(path, "run"), { recursive: true });
  return path;
}
async function database(of = "one", url = server.url(name)) {
  const made = await openDatabase(url, dataDir(of));
  opened.push(made);
  return made;
}
function client(options: RemoteOptions = {}, url = server.url(name)): Client {
  const made = remoteClient(url, undefined, options);
  opened.push(made);
  return made;
}
const add = (tx: Db, a: string) => tx.run(sql`insert into t (a) values (${a})`);
const stored = async (from: Client) => (await from.execute("select a from t order by id")).rows.map((row) => row.a);
const table = "create table t (id integer primary key, a text unique, b)";

/** A proxy in front of the server: `on` decides what happens to a request with this text in its body. */
function proxy() {
  const rule = { text: "", on: "" as "" | "lose the request" | "lose the answer" };
  const web = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const body = await request.text();
      const hit = rule.on !== "" && body.includes(rule.text);
      const lost = hit ? rule.on : "";
      if (hit) rule.on = "";
      if (lost === "lose the request") return new Response("bad gateway", { status: 502 });
      const { pathname } = new URL(request.url);
      const { method } = request;
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${server.url(name)}${pathname}`, { method, headers, body: body || undefined });
      const text = await answer.text();
      return lost
        ? new Response("bad gateway", { status: 502 })
        : new Response(text, { status: answer.status, headers });
    },
  });
  opened.push({ close: () => web.stop(true) });
  return { url: `http://127.0.0.1:${web.port}`, rule };
}

suite("the writer queue on a libSQL server", () => {
  test("writes whose loss a power failure may cause are stored: the server refuses the setting for them", async () => {
    const { write, client } = await database();
    await client.execute(table);
    await write((tx) => add(tx, "usage"), { relaxed: true });
    await write((tx) => add(tx, "money"));
    expect(await stored(client)).toEqual(["usage", "money"]);
  });

  test("a transaction sees its own rows, gives ids and counts, and fails as a whole", async () => {
    const { write, client } = await database();
    await client.execute(table);
    const found: unknown = await write(async (tx) => {
      const first = await add(tx, "one");
      const [returned] = await tx.all<{ id: number }>(sql`insert into t (a) values ('two') returning id`);
      const changed = await tx.run(sql`update t set b = 1`);
      return [first.lastInsertRowid, returned?.id, changed.rowsAffected];
    });
    expect(found).toEqual([1n, 2, 2]);
    const both = write(async (tx) => {
      await add(tx, "gone");
      await add(tx, "two");
    });
    await expect(both).rejects.toMatchObject({ cause: { code: "SQLITE_CONSTRAINT" } });
    await expect(write(async (tx) => add(tx, "one"))).rejects.toThrow();
    await write(async (tx) => {
      await Promise.all(["three", "four", "five"].map((a) => add(tx, a)));
    });
    expect(await stored(client)).toEqual(["one", "two", "three", "four", "five"]);
  });

  test("values come back as they went: blobs, large text, halves of surrogate pairs, numbers", async () => {
    const { write, client } = await database();
    await client.execute(table);
    const large = "é".repeat(2_000_000);
    const blob = new Uint8Array([0, 1, 254, 255]);
    await write((tx) => tx.run(sql`insert into t (a, b) values (${large}, ${blob}), (${"x\ud800"}, ${1.5})`));
    const { rows } = await client.execute({ sql: "select a, b, ? as c from t order by id", args: [1700000000000] });
    expect(rows[0]?.a === large).toBe(true);
    expect(new Uint8Array(rows[0]?.b as ArrayBuffer)).toEqual(blob);
    expect([rows[1]?.a, rows[1]?.b, rows[1]?.c]).toEqual(["x\ufffd", 1.5, 1700000000000]);
    const missing = client.execute({ sql: "select ?", args: [undefined as unknown as null] });
    await expect(missing).rejects.toThrow(/undefined/);
  });

  test("a hundred reads and writes at once", async () => {
    const { write, client } = await database();
    await client.execute(table);
    const names = Array.from({ length: 100 }, (_, n) => `row ${n}`);
    await Promise.all(
      names.flatMap((each) => [write((tx) => add(tx, each)), client.execute("select count(*) from t")]),
    );
    expect(await stored(client)).toEqual(names);
  });
});

suite("a connection that breaks", () => {
  test.each([
    ["lose the request", [], "database_unreachable"],
    ["lose the answer", ["paid"], null],
  ] as const)("commit, %s: the caller learns whether it is stored", async (on, rows, code) => {
    const { url, rule } = proxy();
    const { write, client } = await database("one", url);
    await client.execute(table);
    Object.assign(rule, { text: "COMMIT", on });
    const writing = write((tx) => add(tx, "paid").then(() => "done"));
    if (code) await expect(writing).rejects.toMatchObject({ code, kind: "unavailable" });
    else expect(await writing).toBe("done");
    expect(await stored(client)).toEqual([...rows]);
    await write((tx) => add(tx, "next"));
    expect(await stored(client)).toEqual([...rows, "next"]);
  });

  test.each(["lose the request", "lose the answer"] as const)(
    "at the first statement, %s: it is sent again, and stored once",
    async (on) => {
      const { url, rule } = proxy();
      const { write, client } = await database("one", url);
      await client.execute(table);
      Object.assign(rule, { text: "insert into t", on });
      let ran = 0;
      await write((tx) => {
        ran++;
        return add(tx, "once");
      });
      expect([ran, await stored(client)]).toEqual([1, ["once"]]);
    },
  );

  test("in the middle of a transaction: nothing of it is stored, also not what comes after", async () => {
    const { url, rule } = proxy();
    const { write, client } = await database("one", url);
    await client.execute(table);
    const writing = write(async (tx) => {
      await add(tx, "first");
      Object.assign(rule, { text: "second", on: "lose the answer" });
      await add(tx, "second").catch(() => {});
      await add(tx, "third");
    });
    await expect(writing).rejects.toMatchObject({ cause: { code: "database_unreachable" } });
    await write((tx) => add(tx, "next"));
    expect(await stored(client)).toEqual(["next"]);
  });

  test("the server is killed and started again between transactions, and during them", async () => {
    const { write, client } = await database();
    await client.execute(table);
    await write((tx) => add(tx, "before"));
    await server.kill();
    const late = write((tx) => add(tx, "while it starts"));
    const read = client.execute("select count(*) as n from t");
    await server.start();
    await late;
    expect((await read).rows[0]?.n).toBeGreaterThan(0);
    const broken = write(async (tx) => {
      await add(tx, "half");
      await server.kill();
      await server.start();
      await add(tx, "other half");
    });
    await expect(broken).rejects.toThrow();
    await write((tx) => add(tx, "after"));
    expect(await stored(client)).toEqual(["before", "while it starts", "after"]);
  });

  test("while the server stays away, requests fail at once with a sentence, and work again by themselves", async () => {
    const { write, client } = await database();
    await client.execute(table);
    await server.kill();
    const one = client.execute("select 1");
    await expect(one).rejects.toMatchObject({ code: "database_unreachable", kind: "unavailable", retryAfterS: 5 });
    const from = performance.now();
    for (let n = 0; n < 20; n++) await client.execute("select 1").catch(() => {});
    // Together as long as the patience with one of five would be.
    expect(performance.now() - from).toBeLessThan(10_000);
    const waiting = Array.from({ length: 20 }, (_, n) => write((tx) => add(tx, `lost ${n}`)));
    const outcomes = await Promise.allSettled(waiting);
    expect(outcomes.map(({ status }) => status)).toEqual(outcomes.map(() => "rejected"));
    expect(performance.now() - from).toBeLessThan(40_000);
    await server.start();
    await write((tx) => add(tx, "back"));
    expect(await stored(client)).toEqual(["back"]);
  }, 90_000);
});

suite("the owner of a database", () => {
  test("a second server is refused by the name of the first, and starts when that one has ended", async () => {
    const first = await database("one");
    const refused = openDatabase(server.url(name), dataDir("two"));
    await expect(refused).rejects.toMatchObject({ code: "database_in_use", kind: "conflict" });
    await expect(refused).rejects.toThrow(new RegExp(`process ${process.pid} on the machine .*can start in \\d+ s`));
    const looker = client();
    expect(await readDatabaseOwner(looker)).toMatchObject({ pid: process.pid });
    await first.close();
    expect(await readDatabaseOwner(looker)).toBeNull();
    const second = await database("two");
    await second.client.execute(table);
    await second.write((tx) => add(tx, "mine"));
  });

  test("the same data directory goes on at once after a crash", async () => {
    const crashed = await database("one");
    const next = await database("one");
    await next.client.execute(table);
    await next.write((tx) => add(tx, "next"));
    await expect(crashed.write((tx) => add(tx, "ghost"))).rejects.toMatchObject({ cause: { code: "database_taken" } });
    expect(await stored(next.client)).toEqual(["next"]);
  });

  test("a server that was away for longer than its lease writes nothing more, and hears that it must stop", async () => {
    const away = await database("one");
    await away.client.execute(table);
    await client().execute("update database_owner set expires_at = 1");
    const next = await database("two");
    const writes = ["a", "b"].map((each) => away.write((tx) => add(tx, each)));
    for (const write of writes) await expect(write).rejects.toMatchObject({ cause: { code: "database_taken" } });
    expect((await away.lost).message).toMatch(/Another Fine-Tune Lab has taken the database/);
    expect(await stored(next.client)).toEqual([]);
    await away.close();
    expect(await readDatabaseOwner(next.client)).not.toBeNull();
  });
});
