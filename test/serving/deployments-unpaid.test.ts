/** Requests to an endpoint whose start waits for a budget or for a payment are answered with that, at once. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { budgetMarks } from "../../src/billing/budgets/limits.ts";
import { checkLate } from "../../src/billing/late/pass.ts";
import { lateWork } from "../../src/billing/late/state.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { addInvoice, DAY } from "../support/billing.ts";
import { deployEngine } from "../support/engine.ts";
import { readyBase } from "../support/models.ts";
import { TEST_KEY } from "../support/stripe-fake.ts";

let t: TestApp;
let endpoint: { id: string; jobId: string };

beforeAll(async () => {
  t = await createTestApp({ config: { stripe_secret_key: TEST_KEY } });
  await readyBase(t.ctx, "tiny");
  const { a: org } = t.orgs;
  endpoint = await deployEngine(
    t.ctx,
    { address: "" },
    { org, model: "tiny", state: "starting", createdBy: t.users.admin },
  );
  await t.ctx.write((tx) => tx.update(deployment).set({ address: null }).where(eq(deployment.id, endpoint.id)));
});
afterAll(() => t.close());

async function ask() {
  const body = { model: "tiny", messages: [{ role: "user", content: "hi" }] };
  const answer = await t.request("POST", "/v1/chat/completions", { as: "member", body });
  const { error } = (await answer.json()) as { error: { type: string; code: string; message: string } };
  return { status: answer.status, again: answer.headers.get("x-should-retry"), ...error };
}
const REFUSED = { status: 429, again: "false", type: "insufficient_quota", code: "insufficient_quota", param: "model" };

test("the engine waits for a budget: its reason, whoever asks", async () => {
  const why = "Waiting for the team's budget of November: $2.00 needed, $1.00 left. Raise it under Usage, Budgets";
  budgetMarks(t.ctx).why = new Map([[endpoint.jobId, why]]);
  expect(await ask()).toEqual({ ...REFUSED, message: `The endpoint of tiny does not start. ${why}.` });
  budgetMarks(t.ctx).why = new Map();
});

test("a budget of the person who started the endpoint is used up: others of the team read why", async () => {
  budgetMarks(t.ctx).exhausted = new Map([[`user ${t.users.admin}`, "the limit of the user's budget is reached"]]);
  const message = "The endpoint of tiny does not start. The limit of the user's budget is reached.";
  expect(await ask()).toEqual({ ...REFUSED, message });
  budgetMarks(t.ctx).exhausted = new Map();
});

test("an invoice is overdue: the reason when the engine waits for it, and not when its work is exempt", async () => {
  await t.json("PATCH", "/v1/billing/settings", { body: { mode: "stripe" } });
  await addInvoice(t, { n: 1, org: t.orgs.a, cents: 500, dueAt: t.ctx.clock.now() - 4 * DAY });
  await checkLate(t.ctx);
  const why = (await lateWork(t.ctx)).why.get(t.orgs.a) ?? "";
  expect(why).toStartWith("Waiting for a payment: invoice 2026-000001");
  const queued = (waiting: string | undefined) =>
    t.ctx.write((tx) => tx.update(job).set({ progress: { waiting } }).where(eq(job.id, endpoint.jobId)));
  await queued(why);
  expect(await ask()).toEqual({ ...REFUSED, message: `The endpoint of tiny does not start. ${why}.` });
  await queued("Waiting for a GPU");
  const asked = ask();
  // Nothing refuses it now: it waits for the engine, which becomes ready elsewhere.
  await Bun.sleep(50);
  await t.ctx.write((tx) => tx.update(deployment).set({ wanted: "stopped" }).where(eq(deployment.id, endpoint.id)));
  t.ctx.bus.emit("deployment.changed", { org: t.orgs.a, deploymentId: endpoint.id, state: "stopped" });
  expect(await asked).toMatchObject({ code: "endpoint_stopped" });
});
