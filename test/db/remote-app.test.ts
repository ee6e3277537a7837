/** The application on a libSQL server: what is larger than a value of the server may be, and a server that goes away. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { apiKey } from "../../src/db/schema/auth.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { logLine, point } from "../../src/db/schema/metrics.ts";
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
  await t?.close();
  await server?.stop();
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
    const found = await t.ctx.db.select({ step: point.step, value: point.value }).from(point).orderBy(point.step);
    expect(found).toEqual(Array.from({ length: STEPS }, (_, n) => ({ step: n + 1, value: n + 1 })));
    console.log(`3 restarts of the server, ${STEPS} reports, ${refusals} answered 503`);
  }, 120_000);
});
