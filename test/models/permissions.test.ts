/**
 * Checkpoints that are shared with another organization: what it may do with one, and what stays closed. Over HTTP with
 * real engines on sockets; only the launch of processes is simulated.
 */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import OpenAI from "openai";
import type { ServeSpec } from "../../src/contract/spec.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { startDeployments } from "../../src/serving/deployments/reconcile.ts";
import { inputFile } from "../../src/training/trainer-protocol/inputs.ts";
import { type As, createTestApp, type TestApp } from "../support/app.ts";
import { type Launcher, startLauncher } from "../support/launcher.ts";
import { until } from "../support/live.ts";
import { insertTuned, readyBase } from "../support/models.ts";
import { contractMissing, contractProblems } from "../support/openai-contract.ts";

let t: TestApp;
let launcher: Launcher;
let stop: () => void;
let model: Awaited<ReturnType<typeof insertTuned>>;
/** The checkpoint of step 10, which is shared; that of step 20 is the model's and is not. */
let checkpoint: string;

beforeEach(async () => {
  t = await createTestApp({ config: { serve_slots: 2 } });
  await readyBase(t.ctx, "tiny");
  model = await insertTuned(t.ctx, t.orgs.a);
  checkpoint = model.checkpoints[0]?.model ?? "";
  launcher = startLauncher(t);
  stop = startDeployments(t.ctx);
});
afterEach(async () => {
  stop();
  await launcher.close();
  await t.close();
});

const clientOf = (as: As) => {
  const fetch = ((input: RequestInfo | URL, init?: RequestInit) =>
    t.app.handle(new Request(input, init))) as typeof globalThis.fetch;
  return new OpenAI({
    apiKey: t.keys[as],
    adminAPIKey: t.keys[as],
    baseURL: "http://localhost/v1",
    maxRetries: 0,
    fetch,
  });
};
const permissions = (as: As = "admin") => clientOf(as).fineTuning.checkpoints.permissions;
const share = async (name: string, org = t.orgs.b) => {
  const [row] = (await permissions().create(name, { project_ids: [org] })).data;
  return row?.id ?? "";
};
const chat = async (name: string, as: As = "other") => {
  const body = { model: name, messages: [{ role: "user", content: "Hi" }] };
  const answer = await t.request("POST", "/v1/chat/completions", { as, body });
  return [answer.status, ((await answer.json()) as { error?: { code: string } }).error?.code];
};
const modelsOf = async (as: As) => {
  const { data } = await t.json<{ data: { id: string; owned_by: string }[] }>("GET", "/v1/models", { as });
  return data.filter(({ id }) => id.startsWith("ft:")).map(({ id, owned_by }) => [id, owned_by]);
};
const refused = async (answer: Promise<unknown>) => {
  const error = await answer.then(
    () => null,
    (thrown) => thrown as { status: number; code: string },
  );
  return [error?.status, error?.code];
};

test("another organization chats with a shared checkpoint and with nothing else of its owner, until sharing ends", async () => {
  expect(await chat(checkpoint)).toEqual([404, "model_not_found"]);
  const id = await share(checkpoint);
  expect(await chat(checkpoint)).toEqual([200, undefined]);
  expect(await modelsOf("other")).toEqual([[checkpoint, t.orgs.a]]);

  // The engine has the files of that checkpoint alone, and no attempt reads others.
  const [serve] = await t.ctx.db.select().from(job).where(eq(job.org, t.orgs.b));
  const spec = serve?.spec as ServeSpec;
  expect(spec.adapters.map(({ name }) => name)).toEqual([checkpoint]);
  const trainer = {
    id: "att_x",
    jobId: serve?.id ?? "",
    org: t.orgs.b,
    kind: "serve" as const,
    number: 1,
    provider: "process",
    lastSeq: 0,
    over: null,
    spec,
  };
  const read = () => inputFile(t.ctx, trainer, "adapter-0", "adapter_model.safetensors");
  expect(await read()).toMatchObject({ path: expect.stringMatching(/adapter_model\.safetensors$/) });

  for (const name of [model.id, model.checkpoints[1]?.model ?? ""])
    expect(await chat(name)).toEqual([404, "model_not_found"]);
  const path = encodeURIComponent(checkpoint);
  const artifact = model.checkpoints[0]?.artifactId;
  const closed: [string, string, object?][] = [
    ["POST", `/v1/models/${path}/exports`, { format: "safetensors" }],
    ["GET", `/v1/models/${path}/lineage`],
    ["DELETE", `/v1/models/${path}`],
    ["GET", `/v1/artifacts/${artifact}`],
    ["GET", `/v1/jobs/${model.jobId}`],
    ["POST", "/v1/base_models/import", { source: "tuned", model: checkpoint }],
    ["GET", `/v1/fine_tuning/checkpoints/${path}/permissions`],
  ];
  for (const [method, to, body] of closed)
    expect([to, (await t.request(method, to, { as: "otherAdmin", body })).status]).toEqual([to, 404]);

  await permissions().delete(id, { fine_tuned_model_checkpoint: checkpoint });
  expect(await chat(checkpoint)).toEqual([404, "model_not_found"]);
  expect(await modelsOf("other")).toEqual([]);
  expect(await refused(read())).toEqual([undefined, "artifact_missing"]);
  await until("its engine to stop", async () => launcher.engines.size === 0, 45_000, 20);
  expect((await t.json<{ data: [] }>("GET", "/v1/deployments", { as: "other" })).data).toEqual([]);
}, 30_000);

test("a shared model is used under its own name, and ends for all with its deletion", async () => {
  await share(model.id);
  expect(await chat(model.id)).toEqual([200, undefined]);
  expect(await modelsOf("other")).toEqual([[model.id, t.orgs.a]]);
  expect(await chat(checkpoint)).toEqual([404, "model_not_found"]);
  await t.json("DELETE", `/v1/models/${encodeURIComponent(model.id)}`);
  expect(await chat(model.id)).toEqual([404, "model_not_found"]);
  await until("its engine to stop", async () => launcher.engines.size === 0, 45_000, 20);
}, 30_000);

test("permissions are listed, kept when given again, and refused to whom they do not concern", async () => {
  const made = await permissions().create(checkpoint, { project_ids: [t.orgs.b] });
  expect(made.data).toMatchObject([{ object: "checkpoint.permission", project_id: t.orgs.b }]);
  const raw = await t.json("GET", `/v1/fine_tuning/checkpoints/${encodeURIComponent(checkpoint)}/permissions`);
  if (!contractMissing) expect(contractProblems("ListFineTuningCheckpointPermissionResponse", raw)).toEqual([]);
  const { id: third } = await t.json<{ id: string }>("POST", "/v1/admin/orgs", { body: { name: "Gamma" } });
  const both = await permissions().create(checkpoint, { project_ids: [t.orgs.b, third] });
  expect(both.data.map(({ id }) => id)).toContain(made.data[0]?.id as string);
  const seen: string[] = [];
  for await (const each of permissions().list(checkpoint, { limit: 1, order: "ascending" })) seen.push(each.project_id);
  expect(seen.toSorted()).toEqual([t.orgs.b, third].toSorted());
  const one = await permissions().list(checkpoint, { project_id: third });
  expect(one.data.map(({ project_id }) => project_id)).toEqual([third]);

  const create = (org: string, as: As = "admin") => refused(permissions(as).create(checkpoint, { project_ids: [org] }));
  expect(await create("org-none")).toEqual([400, "project_not_found"]);
  expect(await create(t.orgs.a)).toEqual([400, "own_project"]);
  expect(await create(t.orgs.b, "member")).toEqual([403, "admin_only"]);
  expect(await create(third, "otherAdmin")).toEqual([404, "model_not_found"]);
  expect(await refused(permissions().create("tiny", { project_ids: [third] }))).toEqual([404, "model_not_found"]);
  const other = model.checkpoints[1]?.model ?? "";
  const wrong = permissions().delete(made.data[0]?.id ?? "", { fine_tuned_model_checkpoint: other });
  expect(await refused(wrong)).toEqual([404, "permission_not_found"]);

  await permissions().delete(made.data[0]?.id ?? "", { fine_tuned_model_checkpoint: checkpoint });
  const log = await t.json<{ data: { action: string; detail: object }[] }>(
    "GET",
    `/v1/admin/audit?target=${encodeURIComponent(checkpoint)}`,
  );
  expect(log.data.map(({ action }) => action)).toEqual(["checkpoint.unshare", "checkpoint.share", "checkpoint.share"]);
}, 30_000);
