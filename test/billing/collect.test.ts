/** Storage and requests are metered exactly once, from the rows themselves, whatever is killed in between. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { collectRequests } from "../../src/billing/collect/requests.ts";
import { collectStorage } from "../../src/billing/collect/storage.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { fakeClock } from "../support/clock.ts";
import { makeEverything } from "../support/everything.ts";

const HOUR = 3_600_000;
const clock = fakeClock(Date.now());
let t: TestApp;
let armed: string | null = null;

beforeAll(async () => {
  t = await createTestApp({
    ctx: {
      clock,
      failPoint: (name) => {
        if (name === armed) throw new Error("killed");
      },
    },
  });
});
afterAll(() => t.close());

/** Runs it, killed at a fail point the first time. */
async function survive(point: string, work: () => Promise<void>): Promise<void> {
  armed = point;
  await expect(work()).rejects.toThrow("killed");
  armed = null;
  await work();
  await work();
}

interface Verified {
  ok: boolean;
  checks: { name: string; checked: number; violations: string[] }[];
}
const verify = () => t.json<Verified>("GET", "/v1/admin/billing/verify");

test("what is stored is charged by owner and kind once in an hour, as the quota counts it, and no hour without a server", async () => {
  await makeEverything(t);
  const used = async () => (await t.json<{ bytes: { used: number } }>("GET", "/v1/limits")).bytes.used;
  const bytes = await used();
  await survive("meter.storage", () => collectStorage(t.ctx));
  const sum = () =>
    t.ctx.db.all<{ hours: number; bytes: number; from: number }>(
      sql`select count(distinct from_ms) as hours, sum(quantity) as bytes, max(from_ms) as "from" from meter_interval
        where meter = 'byte_hours' and org = ${t.orgs.a}`,
    );
  expect(bytes).toBeGreaterThan(0);
  expect(await sum()).toEqual([{ hours: 1, bytes, from: Math.floor(clock.now() / HOUR) * HOUR }]);
  const files = await t.ctx.db.all(
    sql`select distinct user_id as user from meter_interval where model = 'files' and org = ${t.orgs.a}`,
  );
  expect(files).toEqual([{ user: t.users.admin }]);
  // The server was down for five hours; an upload expired meanwhile.
  clock.advance(6 * HOUR);
  await collectStorage(t.ctx);
  expect((await sum())[0]).toMatchObject({ hours: 2, bytes: bytes + (await used()) });
});

test("tokens are summed by who sent them, model, purpose and hour, and each request counts once", async () => {
  const row = (n: number, more: Partial<typeof inference.$inferInsert> = {}) => ({
    id: `req_${n}`,
    org: t.orgs.a,
    userId: t.users.member,
    keyId: t.keyIds.member,
    model: "tiny",
    deploymentId: "dep_1",
    at: clock.now(),
    status: 200,
    streamed: false,
    promptTokens: 10,
    completionTokens: 3,
    totalMs: 1,
    ...more,
  });
  const add = (...rows: ReturnType<typeof row>[]) => t.ctx.write((tx) => tx.insert(inference).values(rows));
  // From a version that did not meter them.
  await add(row(0));
  await collectRequests(t.ctx);
  await add(row(1), row(2), row(3, { purpose: "grade" }), row(4, { at: clock.now() - HOUR }), row(5, { keyId: null }));
  await survive("meter.requests", () => collectRequests(t.ctx));
  await add(row(6), row(7, { promptTokens: 0, completionTokens: 0, status: 503 }));
  await survive("meter.requests", () => collectRequests(t.ctx));
  const rows = await t.ctx.db.all(
    sql`select kind, key_id is null as session, meter, quantity from meter_interval where source like 'requests %' order by n`,
  );
  const both = (kind: string, session: number, times: number) => [
    { kind, session, meter: "input_tokens", quantity: 10 * times },
    { kind, session, meter: "output_tokens", quantity: 3 * times },
  ];
  expect(rows).toEqual([
    ...both("inference", 0, 2),
    ...both("grade", 0, 1),
    ...both("inference", 0, 1),
    ...both("inference", 1, 1),
    ...both("inference", 0, 1),
  ]);
});

test("billing verify finds nothing, and names what does not agree", async () => {
  const good = await verify();
  expect(good.checks.filter(({ violations }) => violations.length > 0)).toEqual([]);
  expect(good.ok).toBe(true);
  expect(good.checks.find(({ name }) => name.startsWith("Tokens of requests"))?.checked).toBe(7);
  await t.ctx.write(async (tx) => {
    await tx.run(sql`insert into ledger_entry (txn, org, account, micros, at) values ('use x', 'o', 'unbilled', 5, 1)`);
    await tx.run(sql`update inference set prompt_tokens = 11 where id = 'req_6'`);
  });
  const bad = await verify();
  expect(bad.ok).toBe(false);
  expect(bad.checks.flatMap(({ violations }) => violations)).toEqual([
    "use x adds up to 5",
    "use x is booked without an interval",
    "o has 0 unbilled and 5 booked",
    "requests have 61 and 18 tokens, intervals 60 and 18",
  ]);
});
