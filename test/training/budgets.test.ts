/**
 * Budgets and real processes with a fast clock: a job stops before a limit with a checkpoint, waits with the reason,
 * and resumes when the limit is raised; requests to models are refused as OpenAI refuses them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import OpenAI from "openai";
import type { BudgetView } from "../../src/billing/budgets/model.ts";
import { watchBudgets } from "../../src/billing/budgets/watch.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { item, recordHour, setPrices } from "../support/billing.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";

/** Two seconds of the clock take a fifth of a second. */
const FAST = 10;
const DOLLAR = 1_000_000;
const [today, began] = [Date.now(), performance.now()];
// It begins today: the processes that watch over trainers have the clock of the machine.
const clock: Clock = {
  now: () => today + Math.round((performance.now() - began) * FAST),
  monotonic: () => performance.now(),
  sleep: (ms) => Bun.sleep(ms),
};

let lab: Lab;
beforeAll(async () => {
  lab = await createLab({ trainSlots: 1, sweepMs: 200, clock });
  // A core costs ten cents a second, so that a job of 40 seconds costs some dollars.
  await setPrices(lab, [{ ...item, meter: "cpu_seconds", unit_micros: 360 * DOLLAR }]);
});
afterAll(async () => {
  await lab.close();
});

const waiting = async (id: string) =>
  (await lab.json<{ waiting_for: { code: string; message: string } | null }>("GET", `/v1/jobs/${id}`)).waiting_for;
const step = async (id: string) => (await lab.job(id)).progress.step ?? 0;
/** What is recorded of a job, in micro-dollars, and what a second of it costs. */
const usedBy = async (id: string) => {
  const [row] = await lab.ctx.db.all<{ micros: number; perS: number }>(sql`select coalesce(sum(micros), 0) micros,
    coalesce(max(quantity * 1000.0 / (to_ms - from_ms)), 0) * 100000 perS
    from meter_interval where job_id = ${id} and meter = 'cpu_seconds' and free = 0 and to_ms > from_ms`);
  return row ?? { micros: 0, perS: 0 };
};

test("a job stops before its maximum cost by at most a checkpoint interval, and ends when it is raised", async () => {
  // Twenty steps of about two seconds, a checkpoint every four.
  const id = await lab.train(`slow.200-fast.${FAST}`, { max_steps: 20, save_every: 4, max_cost_usd: 2 });
  await until("it to wait", async () => (await waiting(id))?.code === "budget", 60_000, 20);
  expect((await waiting(id))?.message).toMatch(
    /^Waiting for a higher maximum cost: \$\d\.\d\d of \$2\.00 used\. Raise it on the job's page$/,
  );
  const stoppedAt = await step(id);
  expect(stoppedAt).toBeGreaterThan(3);
  expect(stoppedAt).toBeLessThan(20);
  const first = await usedBy(id);
  const [started, ended] = [(await lab.attempts(id))[0]?.startedAt ?? 0, (await lab.attempts(id))[0]?.endedAt ?? 0];
  const perStepS = (ended - started) / 1000 / stoppedAt;
  expect(first.micros).toBeGreaterThan(0.5 * DOLLAR);
  expect(first.micros).toBeLessThan(2 * DOLLAR + 4 * perStepS * first.perS);
  expect(await lab.ctx.db.all(sql`select job_id from budget_hold`)).toEqual([]);
  expect((await lab.json<{ data: unknown[] }>("GET", `/v1/jobs/${id}/checkpoints`)).data.length).toBeGreaterThan(0);
  await lab.json("PATCH", `/v1/jobs/${id}`, { body: { max_cost_usd: 50 } });
  await lab.reached(id, "succeeded");
  expect((await lab.attempts(id)).map(({ outcome }) => outcome)).toEqual(["paused", "succeeded"]);
  const notes = await lab.ctx.db.all<{ message: string }>(sql`select message from event where job_id = ${id}`);
  expect(notes.map(({ message }) => message)).toContain(
    "It saves a checkpoint and waits in the queue: its maximum cost of $2.00 is reached. Raise it on the job's page",
  );
}, 120_000);

test("a job that does not fit waits before it starts, and starts when the budget is raised", async () => {
  const body = { scope: "team", limit_usd: 3 };
  const used = (await lab.json<BudgetView & { id: string }>("POST", "/v1/budgets", { body })) as BudgetView;
  const id = await lab.train("small", { max_steps: 5 });
  // Its estimate, or an hour, costs far more than is left.
  await until("it to wait", async () => (await waiting(id))?.code === "budget", 60_000, 20);
  expect((await waiting(id))?.message).toMatch(
    /^Waiting for the team's budget of [A-Z][a-z]+: \$[\d.,]+ needed, (\$\d\.\d\d|nothing) left\. Raise it under Usage, Budgets$/,
  );
  expect(await lab.attempts(id)).toEqual([]);
  await lab.json("PATCH", `/v1/budgets/${used.id}`, { body: { limit_usd: 100_000 } });
  await lab.reached(id, "succeeded");
  await lab.json("DELETE", `/v1/budgets/${used.id}`);
}, 120_000);

test("a key over its budget gets insufficient_quota, as OpenAI's client expects it, until the budget is raised", async () => {
  const client = new OpenAI({ apiKey: lab.keys.member, baseURL: `${lab.url()}/v1` });
  const ask = () =>
    client.chat.completions
      .create({ model: "none", messages: [{ role: "user", content: "a" }] })
      .catch((error) => error);
  const target = { scope: "key", scope_id: lab.keyIds.member, limit_usd: 0.5 };
  const set = (await lab.json("POST", "/v1/budgets", { body: target })) as BudgetView;
  await recordHour(lab, { source: "of the key", meter: "cpu_seconds", keyId: lab.keyIds.member, quantity: 6 });
  await watchBudgets(lab.ctx);
  const refused = await ask();
  expect(refused).toBeInstanceOf(OpenAI.RateLimitError);
  expect({ status: refused.status, type: refused.type, code: refused.code, param: refused.param }).toEqual({
    status: 429,
    type: "insufficient_quota",
    code: "insufficient_quota",
    param: null,
  });
  expect(refused.message).toMatch(/the limit of the API key's budget of [A-Z][a-z]+ \(\$0\.50\) is reached/);
  expect(refused.headers.get("x-should-retry")).toBe("false");
  await lab.json("PATCH", `/v1/budgets/${set.id}`, { body: { limit_usd: 5 } });
  await watchBudgets(lab.ctx);
  expect(await ask()).toBeInstanceOf(OpenAI.NotFoundError);
});
