/** Moderation of models over HTTP: checks before the first deployment, guard models and graders, reports. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { auditLog } from "../../src/db/schema/audit.ts";
import { deployment } from "../../src/db/schema/deployments.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { moderationCheck, restriction } from "../../src/db/schema/moderation.ts";
import { MODEL_PROMPTS } from "../../src/moderation/prompts.ts";
import type { DeploymentView } from "../../src/serving/deployments/model.ts";
import { insertJob, insertTuned, serveSpec } from "../support/models.ts";
import { clean, createModerated, errorOf, type Moderated, row } from "../support/moderation.ts";
import { createServed, type Served } from "../support/served.ts";

let served: Served;
let of: Moderated;
const rules: string[] = [];

beforeAll(async () => {
  served = await createServed();
  of = await createModerated({ app: served.app });
});
afterAll(async () => {
  await of.close();
  await served.close();
});
beforeEach(async () => {
  served.reset();
  await of.settings({ enabled: true });
  for (const id of rules.splice(0)) await of.app.request("DELETE", `/v1/moderation/rules/${id}`);
});

const rule = async (body: object) => rules.push((await of.rule({ category: "illicit/violent", ...body })).id);
const deploy = (model: string) => of.app.json<DeploymentView>("POST", "/v1/deployments", { body: { model } });
const state = async (id: string) => (await of.app.json<DeploymentView>("GET", `/v1/deployments/${id}`)).state;
const chat = (model: string) =>
  of.app.request("POST", "/v1/chat/completions", { body: { model, messages: [{ role: "user", content: "hi" }] } });
const eventsOf = async (job: string) =>
  (
    await of.app.json<{ data: { type: string; message: string; data?: object }[] }>(
      "GET",
      `/v1/fine_tuning/jobs/${job}/events?limit=100`,
    )
  ).data.filter(({ type }) => type === "moderation_checks");

/** The engine of the test serves the endpoint, as if it had started. */
async function becomesReady(id: string, model: string, artifactId: string) {
  const { ctx, orgs } = of.app;
  const spec = serveSpec("tiny", [{ name: model, artifactId }]);
  const jobId = await insertJob(ctx, { org: orgs.a, kind: "serve", state: "running", spec });
  await ctx.write((tx) =>
    tx.update(deployment).set({ state: "ready", address: served.engine.address, jobId }).where(eq(deployment.id, id)),
  );
  ctx.bus.emit("deployment.changed", { org: orgs.a, deploymentId: id, state: "ready" });
  return jobId;
}
async function deployed() {
  const tuned = await insertTuned(of.app.ctx, of.app.orgs.a);
  const made = await deploy(tuned.id);
  return { ...tuned, deployment: made, artifactId: tuned.checkpoints.at(-1)?.artifactId ?? "" };
}

test("without rules for models, and switched off, a deployment starts at once", async () => {
  await rule({ name: "Datasets only", keywords: ["bomb"], on_models: false });
  const one = await deployed();
  expect(one.deployment.state).toBe("starting");
  await of.settings({ enabled: false });
  await rule({ name: "Bombs", keywords: ["bomb"] });
  const other = await deployed();
  expect(other.deployment.state).toBe("starting");
  expect(await of.app.ctx.db.select().from(moderationCheck)).toEqual([]);
});

test("a model answers every prompt before its first deployment, and nobody else until then", async () => {
  await rule({ name: "Bombs", keywords: ["bomb"], action: "hold" });
  const one = await deployed();
  expect(one.deployment.state).toBe("checking");
  const page = await of.app.request("GET", `/deployments/${one.deployment.id}`, { headers: { accept: "text/html" } });
  expect(await page.text()).toContain("Moderation checks are running");
  const early = await chat(one.id);
  expect(early.status).toBe(503);
  expect(await errorOf(early)).toMatchObject({ code: "model_checking" });
  await becomesReady(one.deployment.id, one.id, one.artifactId);
  expect(await of.checked(one.id)).toMatchObject({ state: "passed", done: MODEL_PROMPTS.length });
  const asked = served.engine.requests.map(({ body }) => (body.messages as { content: string }[])[0]?.content);
  expect(asked).toEqual(MODEL_PROMPTS.map(({ prompt }) => prompt));
  expect(await state(one.deployment.id)).toBe("ready");
  expect((await chat(one.id)).status).toBe(200);
  const [event] = await eventsOf(one.jobId);
  const result = { flagged: false, category: "illicit/violent", enforcement: "blocking" };
  expect(event).toMatchObject({
    message: "Moderation checks: passed",
    data: { blocked: false, results: expect.arrayContaining([result]) },
  });
  // Once is enough.
  await of.app.request("POST", `/v1/deployments/${one.deployment.id}/stop`);
  await of.app.request("POST", `/v1/deployments/${one.deployment.id}/start`);
  expect(await state(one.deployment.id)).not.toBe("checking");
});

test("a flagged model is held and stopped, its job says so, and a reviewer lets it go", async () => {
  await rule({ name: "Bombs", keywords: ["pipe bomb"], action: "hold" });
  served.engine.words = ["Take a ", "pipe bomb", "."];
  const one = await deployed();
  await becomesReady(one.deployment.id, one.id, one.artifactId);
  expect(await of.checked(one.id)).toMatchObject({ state: "flagged" });
  const [open] = await of.casesAbout(one.id);
  expect(open).toMatchObject({ type: "model", categories: ["illicit/violent"], flagged: MODEL_PROMPTS.length });
  expect(open?.findings[0]).toMatchObject({
    part: "answer",
    prompt: MODEL_PROMPTS[0]?.prompt,
    excerpt: { before: "Take a ", match: "pipe bomb", after: "." },
  });
  const [event] = await eventsOf(one.jobId);
  expect(event).toMatchObject({ data: { blocked: true } });
  expect(await errorOf(await chat(one.id))).toMatchObject({ code: "held_for_moderation" });
  const [stored] = await of.app.ctx.db.select().from(deployment).where(eq(deployment.id, one.deployment.id));
  expect(stored?.wanted).toBe("stopped");
  const started = await of.app.request("POST", `/v1/deployments/${one.deployment.id}/start`);
  expect(await errorOf(started)).toMatchObject({ code: "held_for_moderation" });

  await of.decide(0, open?.id ?? "", "restrict", "It explains weapons.");
  const refused = await of.app.request("POST", "/v1/deployments", { body: { model: one.id } });
  expect(refused.status).toBe(403);
  const error = await errorOf(refused);
  expect([error.code, error.message]).toEqual(["restricted", expect.stringContaining("It explains weapons.")]);
  for (const path of [`/v1/models/${one.id}/exports`, `/v1/deployments`]) {
    const body = path.endsWith("exports") ? { format: "safetensors" } : { model: `${one.id}:ckpt-step-10` };
    expect([path, (await of.app.request("POST", path, { body })).status]).toEqual([path, 403]);
  }
  const form = { model: one.id };
  const byPage = await of.app.request("POST", "/deployments", { form, headers: { accept: "text/html" } });
  expect(await byPage.text()).toContain("It explains weapons.");
  await of.app.json("POST", `/v1/moderation/decisions/${open?.id}/appeal`, { body: { text: "It refuses now." } });
  await of.decide(1, open?.id ?? "", "approve", "Right.");
  expect((await of.app.request("POST", `/v1/deployments/${one.deployment.id}/start`)).status).toBe(200);
});

test("removing a model erases its files and leaves a tombstone", async () => {
  await rule({ name: "Bombs", keywords: ["pipe bomb"], action: "hold" });
  served.engine.words = ["pipe bomb"];
  const one = await deployed();
  const engineJob = await becomesReady(one.deployment.id, one.id, one.artifactId);
  await of.checked(one.id);
  const [open] = await of.casesAbout(one.id);
  // Its engine has stopped.
  await of.app.ctx.write((tx) => tx.update(job).set({ state: "cancelled" }).where(eq(job.id, engineJob)));
  await of.app.ctx.write((tx) =>
    tx
      .update(deployment)
      .set({ state: "stopped", jobId: null, address: null })
      .where(eq(deployment.id, one.deployment.id)),
  );
  expect((await of.decide(0, open?.id ?? "", "remove", "It explains weapons.")).status).toBe(200);
  const gone = await of.app.request("GET", `/v1/models/${one.id}`);
  expect(gone.status).toBe(410);
  expect((await errorOf(gone)).message).toContain("It explains weapons.");
  const list = await (await of.app.request("GET", "/models", { headers: { accept: "text/html" } })).text();
  expect(list).toContain("Removed by a reviewer");
  expect(await of.casesAbout(one.id)).toMatchObject([{ decision: "remove", erasing: false, findings: [] }]);
});

test("a stopped endpoint is checked at its next start", async () => {
  await rule({ name: "Bombs", keywords: ["bomb"] });
  const one = await deployed();
  await of.app.request("POST", `/v1/deployments/${one.deployment.id}/stop`);
  const none = async () =>
    (await of.app.ctx.db.select().from(moderationCheck).where(eq(moderationCheck.subject, one.id))).length === 0;
  while (!(await none())) await Bun.sleep(20);
  expect(await of.app.ctx.db.select().from(restriction).where(eq(restriction.subject, one.id))).toEqual([]);
  await of.app.request("POST", `/v1/deployments/${one.deployment.id}/start`);
  expect(await none()).toBe(false);
});

test("a guard model and a grader judge rows, from their threshold on", async () => {
  const unsafe = { name: "Guard", guard_model: "tiny", on_models: false };
  await rule(unsafe);
  served.engine.words = ["unsafe\nS1"];
  const guarded = await of.upload(clean(5, "guard"));
  expect(await of.checked(guarded.version.id)).toMatchObject({ state: "flagged" });
  const [open] = await of.casesAbout(guarded.version.id);
  expect(open).toMatchObject({ flagged: 5 });
  expect(open?.findings[0]).toMatchObject({ rule_name: "Guard", score: 1, part: "row", count: 5 });

  for (const id of rules.splice(0)) await of.app.request("DELETE", `/v1/moderation/rules/${id}`);
  const grader = {
    type: "label_model",
    name: "policy",
    model: "tiny",
    input: [{ role: "user", content: "Does this break the policy? {{sample.output_text}}" }],
    labels: ["yes", "no"],
    passing_labels: ["yes"],
  };
  await rule({ name: "Labels", grader, on_models: false });
  served.engine.words = ['{"label": "no"}'];
  const fine = await of.upload(clean(5, "labels"));
  expect(await of.checked(fine.version.id)).toMatchObject({ state: "passed" });
  served.engine.words = ['{"label": "yes"}'];
  const labeled = await of.upload(clean(5, "more labels"));
  expect(await of.checked(labeled.version.id)).toMatchObject({ state: "flagged" });

  for (const id of rules.splice(0)) await of.app.request("DELETE", `/v1/moderation/rules/${id}`);
  const similar = {
    type: "string_check",
    name: "word",
    input: "{{sample.output_text}}",
    reference: "forbidden",
    operation: "like",
  };
  await rule({ name: "Own words", grader: similar, threshold: 1, on_models: false });
  const one = await of.upload([...clean(5, "similar"), row("a", "this is forbidden here")]);
  await of.checked(one.version.id);
  const [found] = await of.casesAbout(one.version.id);
  expect(found).toMatchObject({ flagged: 1 });
  const wrong = await of.app.request("POST", "/v1/moderation/rules", {
    body: { name: "x", category: "other", guard_model: "none" },
  });
  expect(await errorOf(wrong)).toMatchObject({ param: "guard_model" });
});

test("a report reaches the queue with who sent it, which the owner does not see, and is throttled", async () => {
  const one = await insertTuned(of.app.ctx, of.app.orgs.a);
  const report = (text: string, who: "member" | "other" = "member", id = one.id) =>
    of.app.request("POST", "/v1/moderation/reports", {
      as: who,
      body: { type: "model", id, category: "hate", text },
    });
  expect((await report("It insults people.")).status).toBe(200);
  expect((await report("Again.", "member")).status).toBe(200);
  expect((await report("Not mine.", "other")).status).toBe(404);
  const [open, ...rest] = await of.casesAbout(one.id);
  expect(rest).toEqual([]);
  expect(open).toMatchObject({ source: "report", categories: ["hate"], flagged: 0 });
  expect(open?.history).toMatchObject([
    { kind: "report", user_email: of.app.emails.member, value: "hate", text: "It insults people." },
    { kind: "report", text: "Again." },
  ]);
  // Before a decision the owner sees nothing of it, and afterwards not who it was.
  expect((await of.app.request("GET", `/v1/moderation/decisions/${open?.id}`)).status).toBe(404);
  await of.decide(0, open?.id ?? "", "restrict", "It insults people.");
  const seen = await of.app.request("GET", `/v1/moderation/decisions/${open?.id}`);
  expect(await seen.text()).not.toContain(of.app.users.member);
  const [entry] = await of.app.ctx.db.select().from(auditLog).where(eq(auditLog.action, "moderation_case.report"));
  expect(entry).toMatchObject({ actor: of.app.users.member, target: open?.id });

  const second = await insertTuned(of.app.ctx, of.app.orgs.a);
  const statuses: number[] = [];
  for (let n = 0; n < 9; n++) statuses.push((await report(`Number ${n}`, "member", second.id)).status);
  expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 200, 200, 429]);
  await of.settings({ enabled: false });
  expect(await errorOf(await report("x", "member", second.id))).toMatchObject({ code: "moderation_off" });
});

test("a reported endpoint is restricted for its organization", async () => {
  const { data } = await of.app.json<{ data: DeploymentView[] }>("GET", "/v1/deployments");
  const endpoint = data.find(({ model }) => model === "tiny");
  const form = { type: "deployment", id: endpoint?.id ?? "", category: "other", text: "It answers with nonsense." };
  const page = await of.app.request("GET", `/report?type=deployment&id=${endpoint?.id}`, {
    headers: { accept: "text/html" },
  });
  expect(await page.text()).toContain("Report this endpoint");
  const sent = await of.app.request("POST", "/report", { form, headers: { accept: "text/html" } });
  expect(sent.status).toBe(303);
  const [open] = await of.casesAbout("tiny");
  await of.decide(0, open?.id ?? "", "restrict", "It is not fit for use.");
  expect(await errorOf(await chat("tiny"))).toMatchObject({ code: "restricted" });
  await of.app.json("POST", `/v1/moderation/decisions/${open?.id}/appeal`, { body: { text: "It is fixed." } });
  await of.decide(0, open?.id ?? "", "approve", "Fine.");
  expect(await errorOf(await chat("tiny"))).toMatchObject({ code: "endpoint_stopped" });
});
