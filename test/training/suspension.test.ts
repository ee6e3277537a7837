/**
 * What a suspension does to work, with real processes: jobs save a checkpoint and wait, endpoints stop, and both come
 * back by themselves.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { liftOrganization, liftUser, suspendOrganization, suspendUser } from "../../src/accounts/suspension/service.ts";
import { checkLate } from "../../src/billing/late/pass.ts";
import { markPaid } from "../../src/billing/statements/transitions.ts";
import { startImports } from "../../src/data/imports/run.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { datasetImport } from "../../src/db/schema/imports.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { addInvoice, DAY } from "../support/billing.ts";
import { deployEngine, startEngine, type TestEngine } from "../support/engine.ts";
import { createLab, type Lab } from "../support/lab.ts";
import { until } from "../support/live.ts";
import { type SamlIdentityProvider, startSamlProvider } from "../support/saml-provider.ts";
import { TEST_KEY } from "../support/stripe-fake.ts";

let lab: Lab;
let idp: SamlIdentityProvider;
let engine: TestEngine;
let stopDeployments: () => void;
beforeAll(async () => {
  idp = await startSamlProvider(Date.now);
  lab = await createLab({
    trainSlots: 2,
    sweepMs: 200,
    config: { sso_hosts: [idp.host], stripe_secret_key: TEST_KEY },
  });
  engine = startEngine();
  stopDeployments = startDeployments(lab.ctx);
});
afterAll(async () => {
  stopDeployments();
  await engine.stop();
  await lab.close();
  await idp.close();
});

const by = (id: string, userId: string) =>
  lab.ctx.write((tx) => tx.update(job).set({ createdBy: userId }).where(eq(job.id, id)));
const waiting = async (id: string) =>
  (await lab.json<{ waiting_for: { code: string; message: string } | null }>("GET", `/v1/jobs/${id}`)).waiting_for;
const step = async (id: string) => (await lab.job(id)).progress.step ?? 0;
const endpoint = async (id: string) => {
  const [row] = await lab.ctx.db.select().from(deployment).where(eq(deployment.id, id));
  if (!row) throw new Error("no deployment");
  return row;
};

test("a user's jobs save a checkpoint and wait, also after a restart, and resume when it is lifted", async () => {
  const theirs = await lab.train("slow.40", { max_steps: 80, save_every: 100 });
  const mine = await lab.train("slow.20", { max_steps: 40, save_every: 100 });
  await by(theirs, lab.users.member);
  await until("some steps", async () => (await step(theirs)) >= 3, 45_000, 10);
  // Suspended while the pipeline is away, as when the server is killed right after the commit: it finds the hold.
  await lab.goAway();
  await suspendUser(lab.ctx, lab.actor("admin"), lab.users.member, { reason: "test" });
  lab.comeBack();
  await lab.reached(theirs, "queued");
  await until("the reason", async () => (await waiting(theirs))?.code === "held", 45_000, 20);
  expect((await waiting(theirs))?.message).toBe("Held: the account that created it is suspended");
  // Others of the team go on.
  await lab.reached(mine, "succeeded");
  expect((await lab.job(theirs)).state).toBe("queued");
  await liftUser(lab.ctx, lab.actor("admin"), lab.users.member);
  await lab.reached(theirs, "succeeded");
  expect((await lab.attempts(theirs)).map((one) => one.outcome)).toEqual(["paused", "succeeded"]);
}, 90_000);

test("a user's jobs wait while the identity provider has deactivated the account", async () => {
  const domain = lab.emails.member.split("@")[1];
  const provider = { type: "saml", name: "Provider", metadata_xml: idp.metadata(), domains: [domain] };
  const made = await lab.json<{ id: string }>("POST", "/v1/admin/sso", {
    body: { ...provider, default_organization: lab.orgs.a },
  });
  const { token } = await lab.json<{ token: string }>("POST", `/v1/admin/sso/${made.id}/scim`);
  const scim = (method: string, path: string, body: unknown) =>
    lab.json<{ id: string }>(method, `/scim/v2${path}`, {
      as: "anonymous",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/scim+json" },
      body,
    });
  const { id } = await scim("POST", "/Users", { userName: lab.emails.member, active: true });
  expect(id).toBe(lab.users.member);
  const setActive = (value: boolean) =>
    scim("PATCH", `/Users/${id}`, { Operations: [{ op: "replace", path: "active", value }] });
  const theirs = await lab.train("slow.40", { max_steps: 30, save_every: 100 });
  await by(theirs, lab.users.member);
  await until("some steps", async () => (await step(theirs)) >= 3, 45_000, 10);
  await setActive(false);
  await lab.reached(theirs, "queued");
  await until("the reason", async () => (await waiting(theirs))?.code === "held", 45_000, 20);
  expect((await waiting(theirs))?.message).toBe("Held: the account that created it is deactivated");
  await setActive(true);
  await lab.reached(theirs, "succeeded");
  expect((await lab.attempts(theirs)).map((one) => one.outcome)).toEqual(["paused", "succeeded"]);
}, 90_000);

test("a user's imports wait while those of others run, and run when it is lifted", async () => {
  await suspendUser(lab.ctx, lab.actor("admin"), lab.users.member, { reason: "test" });
  const row = { org: lab.orgs.a, source: { type: "path", path: "/nowhere" } as const, options: {}, createdBy: "" };
  const add = (id: string, createdBy: string, createdAt: number) =>
    lab.ctx.write((tx) => tx.insert(datasetImport).values({ ...row, id, status: "waiting", createdBy, createdAt }));
  // The older one would be taken first.
  await add("imp_theirs", lab.users.member, 1);
  await add("imp_mine", lab.users.admin, 2);
  const status = async (id: string) =>
    (await lab.ctx.db.select().from(datasetImport).where(eq(datasetImport.id, id)))[0]?.status;
  const stop = startImports(lab.ctx);
  await until("mine to end", async () => (await status("imp_mine")) === "failed");
  expect(await status("imp_theirs")).toBe("waiting");
  await liftUser(lab.ctx, lab.actor("admin"), lab.users.member);
  await until("theirs to run", async () => (await status("imp_theirs")) === "failed");
  stop();
});

test("an organization's endpoints stop, answer so, and start again when it is lifted", async () => {
  const { id, jobId } = await deployEngine(lab.ctx, engine, { org: lab.orgs.a, model: "tiny" });
  await suspendOrganization(lab.ctx, lab.actor("otherAdmin"), lab.orgs.a, { reason: "test" });
  await until("its serve job to end", async () => ["stopping", "cancelled"].includes((await lab.job(jobId)).state));
  await lab.ctx.write((tx) => tx.update(job).set({ state: "cancelled" }).where(eq(job.id, jobId)));
  await until("the endpoint to stop", async () => (await endpoint(id)).state === "stopped");
  expect(await endpoint(id)).toMatchObject({ wanted: "running", jobId: null, address: null });
  expect((await endpoint(id)).error).toStartWith("Its organization is suspended.");
  await liftOrganization(lab.ctx, lab.actor("otherAdmin"), lab.orgs.a);
  await until("it to start again", async () => (await endpoint(id)).state !== "stopped");
  expect((await endpoint(id)).jobId).not.toBe(jobId);
}, 60_000);

test("work of a team with an overdue invoice stops, waits for the payment, and resumes", async () => {
  const settings = (body: object) => lab.json("PATCH", "/v1/billing/settings", { body });
  await settings({ mode: "stripe", own_hosts_exempt: false });
  const running = await lab.train("slow.40", { max_steps: 40, save_every: 100 });
  await until("some steps", async () => (await step(running)) >= 3, 45_000, 10);
  const org = lab.orgs.a;
  const first = await addInvoice(lab, { n: 1, org, cents: 500, dueAt: Date.now() - 15 * DAY });
  const second = await addInvoice(lab, { n: 2, org, cents: 700, dueAt: Date.now() - 4 * DAY });
  const pay = async (id: string, cents: number) => {
    await lab.ctx.write((tx) => markPaid(tx, lab.ctx, id, { payment: `pi ${id}`, cents }));
    await checkLate(lab.ctx);
  };
  await checkLate(lab.ctx);
  await lab.reached(running, "queued");
  const message = async () => (await lab.job(running)).progress.waiting;
  await until(
    "the suspension",
    async () => (await message()) === "Held: its organization is suspended for an unpaid invoice",
  );
  await pay(first, 500);
  const waits = `Waiting for a payment: invoice 2026-000002 was due on ${new Date(Date.now() - 4 * DAY).toISOString().slice(0, 10)}, and $7.00 of it is unpaid. Pay it under Billing (/billing)`;
  await until("the other invoice", async () => (await message()) === waits);
  expect(await waiting(running)).toMatchObject({ code: "budget", message: waits });
  const { id } = await lab.json<{ id: string }>("POST", "/v1/deployments", { body: { model: "tiny" } });
  await until("the endpoint to say so", async () => (await endpoint(id)).error === waits);
  expect((await endpoint(id)).state).toBe("starting");
  await lab.json("DELETE", `/v1/deployments/${id}`);
  await settings({ own_hosts_exempt: true });
  await lab.reached(running, "succeeded");
  expect((await lab.attempts(running)).map((one) => one.outcome)).toEqual(["paused", "succeeded"]);
  await settings({ own_hosts_exempt: false });
  const next = await lab.train("slow.10", { max_steps: 5, save_every: 100 });
  await until("it to wait", async () => (await waiting(next))?.code === "budget");
  await pay(second, 700);
  await lab.reached(next, "succeeded");
}, 120_000);
