/**
 * Endpoints on rented machines and money: one that reaches a budget stops and stays stopped until something is left,
 * also over a restart of the server, and one that nobody asks is stopped.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { eq, sql } from "drizzle-orm";
import { budgetMarks } from "../../src/billing/budgets/limits.ts";
import type { BudgetView } from "../../src/billing/budgets/model.ts";
import { watchBudgets } from "../../src/billing/budgets/watch.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { startPipeline } from "../../src/training/queue/pipeline.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { item, recordHour, setPrices } from "../support/billing.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";
import { type Rented, rentedProvider } from "../support/rented.ts";

let t: TestApp;
let rented: Rented;
let pricePerHour: number;
let stops: (() => void | Promise<void>)[];
const DOLLAR = 1_000_000;
const HOUR = 3_600_000;
let later = 0;
const clock: Clock = {
  now: () => Date.now() + later,
  monotonic: () => performance.now(),
  sleep: (ms) => Bun.sleep(ms),
};

const begin = () => {
  stops = [startPipeline(t.ctx, { activeMs: 150, idleMs: 150 }), startDeployments(t.ctx)];
};
const end = async () => {
  for (const stop of stops) await stop();
};
beforeEach(async () => {
  later = 0;
  pricePerHour = 2;
  rented = rentedProvider(
    () => t,
    () => pricePerHour,
  );
  const { plugin, provider } = rented;
  const compute = { get: (id: string) => (id === plugin.id ? rented : null), list: () => [{ plugin, provider }] };
  t = await createTestApp({ config: { paid_idle_after_s: 7200 }, ctx: { compute, clock } });
  await readyBase(t.ctx, "tiny");
  // An endpoint of one core costs $3 an hour.
  await setPrices(t, [{ ...item, meter: "cpu_seconds", unit_micros: 3 * DOLLAR }]);
  begin();
});
afterEach(async () => {
  await end();
  await rented.close();
  await t.close();
});

interface View {
  id: string;
  state: string;
  wanted: string;
  error: string | null;
}
const get = (id: string) => t.json<View>("GET", `/v1/deployments/${id}`);
const reach = (id: string, state: string) =>
  until(`${id} to be ${state}`, async () => ((await get(id)).state === state ? get(id) : null), 15_000, 20);
const deploy = () => t.json<View>("POST", "/v1/deployments", { body: { model: "tiny", idle_after_s: 0 } });
const serveJobs = () => t.ctx.db.all<{ state: string }>(sql`select state from job where kind = 'serve' order by id`);
const chat = () =>
  t.request("POST", "/v1/chat/completions", { body: { model: "tiny", messages: [{ role: "user", content: "Hi" }] } });
const limit = (usd: number) => t.json<BudgetView>("POST", "/v1/budgets", { body: { scope: "team", limit_usd: usd } });
/** Cores used elsewhere in the team, for `cents`. */
const spend = async (source: string, cents: number) => {
  await recordHour(t, { source, meter: "cpu_seconds", quantity: cents * 12 });
  // As the regular look does at the latest after some seconds.
  t.ctx.bus.emit("budget.changed", { org: t.orgs.a });
};
const settled = () => Bun.sleep(1200);

test("an endpoint that reaches a budget stops once, says why, and starts when the budget is raised", async () => {
  const { id: budget } = await limit(10);
  const { id } = await deploy();
  await reach(id, "ready");
  await spend("elsewhere", 699);
  expect((await get(id)).state).toBe("ready");
  // A cent is left: less than the next half minute costs.
  await spend("the rest", 300);
  const stopped = await reach(id, "stopped");
  expect(stopped.wanted).toBe("running");
  expect(stopped.error).toMatch(/(is reached|needed)/);
  await settled();
  expect([rented.started, rented.engines.size, await serveJobs()]).toEqual([1, 0, [{ state: "cancelled" }]]);
  expect((await get(id)).state).toBe("stopped");
  const refused = await chat();
  expect([refused.status, (await refused.json()).error.code]).toEqual([429, "insufficient_quota"]);
  // A restart has forgotten what budgets stop.
  await end();
  Object.assign(budgetMarks(t.ctx), { stopping: new Map(), exhausted: new Map(), why: new Map(), waiting: new Map() });
  begin();
  await settled();
  expect([rented.started, (await serveJobs()).length]).toEqual([1, 1]);
  expect(await t.ctx.db.all(sql`select job_id from budget_hold`)).toEqual([]);
  await t.json("PATCH", `/v1/budgets/${budget}`, { body: { limit_usd: 20 } });
  await reach(id, "ready");
  expect((await get(id)).error).toBeNull();
  expect((await chat()).status).toBe(200);
  expect([rented.started, (await serveJobs()).length]).toEqual([2, 2]);
}, 60_000);

test("an endpoint of a budget that is used up stays stopped, and starts in the month after", async () => {
  await limit(5);
  const { id } = await deploy();
  await reach(id, "ready");
  await spend("too much", 600);
  await watchBudgets(t.ctx);
  await reach(id, "stopped");
  await settled();
  expect([rented.started, (await serveJobs()).length]).toEqual([1, 1]);
  await t.ctx.write((tx) => tx.run(sql`update budget_use set period = '2020-01'`));
  await watchBudgets(t.ctx);
  await reach(id, "ready");
  expect(rented.started).toBe(2);
}, 60_000);

test("one that a person stops and starts while nothing is left waits as well", async () => {
  await limit(10);
  const { id } = await deploy();
  await reach(id, "ready");
  await t.json("POST", `/v1/deployments/${id}/stop`);
  await reach(id, "stopped");
  await spend("elsewhere", 800);
  await t.json("POST", `/v1/deployments/${id}/start`);
  await until("why it waits", async () => (await get(id)).error, 10_000, 20);
  expect(await get(id)).toMatchObject({ state: "stopped", wanted: "running" });
  expect((await get(id)).error).toMatch(
    /^Waiting for the team's budget of [A-Z][a-z]+: \$3\.00 needed, \$2\.00 left\./,
  );
  expect(rented.started).toBe(1);
  await t.ctx.write((tx) => tx.update(deployment).set({ wanted: "stopped" }).where(eq(deployment.id, id)));
}, 60_000);

test("one on a rented machine that nobody asks is stopped although it never sleeps, and its owner gets a notice", async () => {
  const { id } = await deploy();
  await reach(id, "ready");
  expect((await chat()).status).toBe(200);
  // The pipeline would take a jump for a clock that was set.
  await stops.shift()?.();
  later = 1.9 * HOUR;
  expect((await chat()).status).toBe(200);
  later += 1.9 * HOUR;
  await settled();
  expect(await get(id)).toMatchObject({ state: "ready", wanted: "running" });
  later += 0.2 * HOUR;
  const why = "It had no request for 2 h on a machine of Rented for $2.00 an hour";
  await until("it to be stopped", async () => (await get(id)).wanted === "stopped", 10_000, 20);
  const events = await t.ctx.db.all<{ line: string }>(
    sql`select title || ': ' || body line from notice_event where type = 'deployment.idle' and user_id = ${t.users.admin}`,
  );
  expect(events).toEqual([{ line: `Endpoint tiny was stopped: ${why}. Start it on its page when it is needed.` }]);
  stops.unshift(startPipeline(t.ctx, { activeMs: 150, idleMs: 150 }));
  expect((await reach(id, "stopped")).error).toBe(`${why}. Start it when it is needed.`);
  expect(rented.engines.size).toBe(0);
  expect((await (await chat()).json()).error.code).toBe("endpoint_stopped");
}, 60_000);

test("one on an own machine stays, however long nobody asks", async () => {
  pricePerHour = 0;
  const { id } = await deploy();
  await reach(id, "ready");
  await stops.shift()?.();
  later = 100 * HOUR;
  await settled();
  expect(await get(id)).toMatchObject({ state: "ready", wanted: "running" });
}, 60_000);
