/** The application on a libSQL server: large batches, backups, and a server that goes away. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eq, sql } from "drizzle-orm";
import { createCtx } from "../../src/app.ts";
import { database } from "../../src/cli/doctor/site.ts";
import { loadConfig } from "../../src/config.ts";
import { apiKey } from "../../src/db/schema/auth.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { logLine, point } from "../../src/db/schema/metrics.ts";
import { makeBackup } from "../../src/insights/installation/backup.ts";
import { flushUsage, recordUsage } from "../../src/serving/gateway/usage.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { makeTrainer, metrics } from "../support/attempt.ts";
import { type Sqld, sqldMissing } from "../support/sqld.ts";

const suite = sqldMissing ? describe.skip : describe;
let t: TestApp;
let server: Sqld;
beforeAll(async () => {
  if (sqldMissing) return console.log(`skipped: ${sqldMissing}`);
  t = await createTestApp({ database: "sqld" });
  server = t.server as Sqld;
});
afterAll(async () => {
  // The server is that of all tests of this process, and ends with it.
  await t?.close();
});

const usage = (id: string) => ({
  id,
  org: t.orgs.a,
  userId: t.users.admin,
  model: "m".repeat(100),
  at: 1,
  status: 200,
  streamed: false,
  promptTokens: 3,
  completionTokens: 4,
  totalMs: 5,
});
const rows = async (of: typeof inference | typeof apiKey | typeof logLine | typeof point) =>
  (await t.ctx.db.select({ n: sql<number>`count(*)` }).from(of))[0]?.n;

suite("more than the server takes in one value", () => {
  test("the usage of an hour without a database", async () => {
    for (let n = 0; n < 15_000; n++) recordUsage(t.ctx, usage(`hour-${n}-${"x".repeat(300)}`));
    await flushUsage(t.ctx);
    expect(await rows(inference)).toBe(15_000);
  });

  test("seven megabytes of log lines of one attempt", async () => {
    const trainer = await makeTrainer(t);
    const message = "가".repeat(2600);
    const lines = Array.from({ length: 900 }, (_, n) => ({ type: "log", level: "info", message: `${n} ${message}` }));
    await trainer.send(lines);
    const stored = await t.ctx.db
      .select({ message: logLine.message })
      .from(logLine)
      .where(eq(logLine.jobId, trainer.jobId))
      .orderBy(logLine.id);
    expect(stored.map((line) => line.message.split(" ")[0])).toEqual(lines.map((_, n) => String(n)));
  });
});

suite("doctor on a database on a server", () => {
  test("names its state and who works on it, and says when it does not answer", async () => {
    const found = async (url: string) =>
      (await database({ ...t.ctx.config, database_url: url })).map(({ found }) => found);
    expect(await found(String(t.ctx.config.database_url))).toEqual([
      expect.stringMatching(new RegExp(`has this version's schema, in use by process ${process.pid} on `)),
    ]);
    expect(await found(server.url("nobody-made-it"))).toEqual([
      expect.stringMatching(/has no database at this address/),
    ]);
    expect(await found("http://127.0.0.1:9")).toEqual([expect.stringMatching(/does not answer/)]);
  });
});

suite("a backup of a database on a server", () => {
  test("has every row as the server has it, and starts as a data directory with a file", async () => {
    const trainer = await makeTrainer(t);
    await trainer.send([
      { type: "log", level: "info", message: "it's a 'quoted' line; END;" },
      metrics(1, { loss: 0.1 + 0.2, tiny: 1e-300 }),
    ]);
    const target = join(t.dir, "backups", "one");
    const remote = { url: String(t.ctx.config.database_url), token: null };
    await makeBackup(t.dir, target, { remote });
    const copy = new Database(join(target, "lab.db"), { readonly: true });
    const names = await t.ctx.db.all<{ name: string; sql: string }>(
      sql`select name, sql from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name`,
    );
    expect(names.length).toBeGreaterThan(100);
    for (const { name } of names.filter((one) => one.name !== "database_owner")) {
      const rows = await t.ctx.db.values<ArrayLike<unknown>[]>(
        sql.raw(`select * from "${name}" order by 1, 2 limit 2000`),
      );
      const there = rows.map((row) => Array.from(row as ArrayLike<unknown>));
      const here = copy.query(`select * from "${name}" order by 1, 2 limit 2000`).values();
      expect([name, JSON.stringify(here)]).toEqual([name, JSON.stringify(there)]);
    }
    const kinds = "select type, count(*) as n from sqlite_master where sql is not null and name <> 'database_owner'";
    const counts = `${kinds} group by type order by type`;
    expect(copy.query(counts).all()).toEqual(await t.ctx.db.all(sql.raw(counts)));
    copy.close();
    const file = await createCtx(loadConfig({ data_dir: target, log_level: "error" }));
    expect(file.installation).toBe(t.ctx.installation);
    await file.close();
  }, 60_000);

  test("a copy that breaks off is no backup", async () => {
    const dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE a (b);\nINSERT INTO a VALUES(1);\n";
    const web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(dump) });
    const target = join(t.dir, "backups", "broken");
    const remote = { url: `http://127.0.0.1:${web.port}`, token: null };
    const making = makeBackup(t.dir, target, { remote });
    await expect(making).rejects.toMatchObject({ code: "database_not_copied" });
    await web.stop(true);
    await expect(makeBackup(t.dir, target, { remote })).rejects.toThrow(/it does not answer/);
    expect(existsSync(target)).toBe(false);
  });
});

suite("a database server that goes away", () => {
  test("answers are 503 with a sentence, for programs and for people, and come back by themselves", async () => {
    await server.kill();
    const create = () => t.request("POST", "/v1/keys", { body: { name: "made once" } });
    const keys = await rows(apiKey).catch(() => null);
    expect(keys).toBeNull();
    const refused = await create();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await refused.json()).toMatchObject({ error: { code: "database_unreachable", type: "server_error" } });
    const headers = { accept: "text/html", "content-type": "application/x-www-form-urlencoded" };
    const form = { email: t.emails.admin, password: "wrong-horse-41-battery" };
    const page = await t.request("POST", "/login", { as: "anonymous", form, headers });
    expect([page.status, page.headers.get("location")]).toEqual([503, null]);
    expect(await page.text()).toContain("The database server does not answer");
    await server.start();
    const before = Number(await rows(apiKey));
    expect((await create()).status).toBe(200);
    expect(await rows(apiKey)).toBe(before + 1);
  }, 60_000);

  test("usage of requests meanwhile is stored once, also when it was stored and its answer was lost", async () => {
    const before = Number(await rows(inference));
    recordUsage(t.ctx, usage("stored without an answer"));
    await flushUsage(t.ctx);
    await server.kill();
    for (const id of ["stored without an answer", "down 1", "down 2"]) recordUsage(t.ctx, usage(id));
    await flushUsage(t.ctx);
    expect(await rows(inference).catch(() => "away")).toBe("away");
    await server.start();
    await flushUsage(t.ctx);
    expect(await rows(inference)).toBe(before + 3);
  }, 60_000);

  test("a training that reports while the server is killed again and again loses no value and doubles none", async () => {
    const trainer = await makeTrainer(t);
    const STEPS = 60;
    let reporting = true;
    const killer = (async () => {
      for (let n = 0; n < 3 && reporting; n++) {
        await Bun.sleep(60);
        await server.kill();
        await server.start();
      }
    })();
    let refusals = 0;
    for (let step = 1; step <= STEPS; step++) {
      const event = { seq: step, at: step, ...metrics(step, { loss: step }) };
      // As a trainer does: the same batch again until it is acknowledged.
      for (;;) {
        const answer = await trainer.call("POST", "/events", { body: { events: [event] } });
        if (answer.status === 200) break;
        expect(answer.status).toBe(503);
        refusals++;
      }
    }
    reporting = false;
    await killer;
    const mine = sql`${point.seriesId} in (select id from series where job_id = ${trainer.jobId})`;
    const found = await t.ctx.db
      .select({ step: point.step, value: point.value })
      .from(point)
      .where(mine)
      .orderBy(point.step);
    expect(found).toEqual(Array.from({ length: STEPS }, (_, n) => ({ step: n + 1, value: n + 1 })));
    console.log(`3 restarts of the server, ${STEPS} reports, ${refusals} answered 503`);
  }, 120_000);
});
