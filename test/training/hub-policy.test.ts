/** Whether machines elsewhere get the address of a base model on the hub: the policy, and what is never offered. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { Market } from "../../src/contract/provider.ts";
import type { SpecReply } from "../../src/contract/trainer.ts";
import { auditLog } from "../../src/db/schema/audit.ts";
import { dataset } from "../../src/db/schema/datasets.ts";
import { attempt } from "../../src/db/schema/jobs.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { createInputs, makeTrainer, trainSpec } from "../support/attempt.ts";
import { rentedMachines } from "../support/rented-machines.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const ADDRESS = `https://huggingface.co/acme/small/resolve/${COMMIT}/`;
const FROM_HUB = { source: "hub" as const, sourceRef: "acme/small", revision: COMMIT, staysLocal: false };

const PLACE = {
  id: "o",
  location: "there",
  gpus: 0,
  gpuName: null,
  gpuMemoryMb: 0,
  cpus: 1,
  memoryMb: 1,
  startsInS: 0,
  available: true,
};

let t: TestApp;
beforeAll(async () => {
  t = await createTestApp({ config: { hub_token: "hf_secret_of_the_server" } });
  await createInputs(t);
});
afterAll(() => t.close());

const set = (settings: Record<string, unknown>) => {
  t.ctx.config = { ...t.ctx.config, ...settings } as typeof t.ctx.config;
};
const model = (values: Partial<typeof baseModel.$inferInsert>) =>
  t.ctx.write((tx) => tx.update(baseModel).set(values).where(eq(baseModel.id, "tiny")));
const choose = (models_from_hub: boolean | null) =>
  t.json("POST", "/v1/admin/providers/cloud/limits", { body: { models_from_hub } });

beforeEach(async () => {
  t.ctx.compute = rentedMachines(["cheap"]);
  set({ models_from_hub: "never", hub_url: "https://huggingface.co", offline: false });
  await model(FROM_HUB);
  await choose(null);
});

/** What a trainer on a machine gets; `text` is all of it. */
async function given(market: Market = "on_demand", more: { local?: boolean; spec?: object } = {}) {
  const trainer = await makeTrainer(t, { spec: trainSpec(more.spec) });
  const local = more.local === undefined ? {} : { local: more.local };
  const offer = { ...OWN_MACHINE, ...PLACE, market, ...local };
  await t.ctx.write((tx) =>
    tx.update(attempt).set({ provider: "cloud", offer }).where(eq(attempt.id, trainer.attemptId)),
  );
  const text = await (await trainer.call("GET", "/spec")).text();
  return { hub: (JSON.parse(text) as Partial<SpecReply>).inputs?.base?.hub ?? null, text };
}

describe("the policy", () => {
  test("is never by default: no address of the hub is in what the machine is given", async () => {
    const { hub, text } = await given();
    expect(hub).toBeNull();
    expect(text).not.toContain("huggingface.co");
    expect(text).not.toContain("resolve");
  });

  test("`rented` is for rented machines, not for own ones elsewhere or those that read the server's disk", async () => {
    set({ models_from_hub: "rented" });
    for (const market of ["on_demand", "spot"] as const) expect((await given(market)).hub).toEqual({ url: ADDRESS });
    expect((await given("own")).hub).toBeNull();
    expect((await given("on_demand", { local: true })).hub).toBeNull();
    expect((await given()).text).not.toContain("hf_secret");
    const usesHub = async () => (await t.json("GET", "/v1/admin/providers/cloud")).uses_hub;
    expect(await usesHub()).toBe(true);
    Object.assign(t.ctx.compute.get("cloud")?.plugin.capabilities ?? {}, { priced: false });
    expect(await usesHub()).toBe(false);
  });

  test("a provider's own choice takes precedence, both ways, is audited, and null takes it back", async () => {
    expect(await choose(true)).toMatchObject({ models_from_hub: true });
    expect((await given()).hub).toEqual({ url: ADDRESS });
    expect((await given("own")).hub).toEqual({ url: ADDRESS });
    set({ models_from_hub: "rented" });
    await choose(false);
    expect((await given()).hub).toBeNull();
    expect(await t.json("GET", "/v1/admin/providers/cloud")).toMatchObject({ uses_hub: false });
    await choose(null);
    expect((await given()).hub).toEqual({ url: ADDRESS });
    const entries = await t.ctx.db.select().from(auditLog).where(eq(auditLog.action, "provider.limits"));
    expect(JSON.stringify(entries)).toContain("models_from_hub");
  });

  test("without a hub, or offline, a provider's choice changes nothing", async () => {
    await choose(true);
    set({ hub_url: "" });
    expect((await given()).hub).toBeNull();
    set({ hub_url: "https://huggingface.co", offline: true });
    expect((await given()).hub).toBeNull();
  });

  test("the page shows it and takes a choice; other values are refused", async () => {
    const page = async () => (await t.request("GET", "/providers", { as: "admin" })).text();
    const post = (models_from_hub: string) =>
      t.request("POST", "/admin/providers/cloud/limits", { form: { models_from_hub }, as: "admin" });
    expect(await page()).toContain("machines elsewhere may not use the hub");
    expect((await post("yes")).status).toBe(303);
    expect(await page()).toContain("machines elsewhere may use the hub");
    expect((await post("often")).status).toBe(400);
    expect((await t.request("POST", "/v1/admin/providers/cloud/limits", { body: { models_from_hub: 1 } })).status).toBe(
      400,
    );
  });
});

describe("with the policy, no address of the hub is given", () => {
  beforeEach(() => set({ models_from_hub: "rented" }));

  test.each([
    ["of another origin", { source: "local" as const }],
    ["made from a fine-tuned model", { source: "tuned" as const }],
    ["from a package", { source: "package" as const }],
    ["without a commit", { revision: "main" }],
  ])("for a model %s", async (_what, values) => {
    await model(values);
    const { hub, text } = await given();
    expect(hub).toBeNull();
    expect(text).not.toContain("/resolve/");
  });

  test("for a model that stays here: its trainer elsewhere gets nothing at all", async () => {
    await model({ staysLocal: true });
    const { hub, text } = await given();
    expect([hub, JSON.parse(text).error.code]).toEqual([null, "model_stays_local"]);
    expect(text).not.toContain("/resolve/");
  });

  test("for a job on data that got the label after the launch", async () => {
    const form = new FormData();
    form.set(
      "file",
      new File(['{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'], "r.jsonl"),
    );
    const { id } = await t.json<{ id: string }>("POST", "/v1/datasets", { raw: form });
    const spec = { dataset: { ...trainSpec().dataset, dataset_id: id } };
    expect((await given("on_demand", { spec })).hub).toEqual({ url: ADDRESS });
    await t.ctx.write((tx) => tx.update(dataset).set({ staysLocal: true }).where(eq(dataset.id, id)));
    expect((await given("on_demand", { spec })).hub).toBeNull();
  });

  test("when hub_url has a password", async () => {
    set({ hub_url: "https://name:word@hub.example" });
    const { hub, text } = await given();
    expect(hub).toBeNull();
    expect(text).not.toContain("word");
  });

  test("for adapters and checkpoints: only the base model has one", async () => {
    const { text } = await given();
    const { inputs, resume } = JSON.parse(text) as SpecReply;
    expect(Object.entries(inputs).flatMap(([name, one]) => (one.hub ? [name] : []))).toEqual(["base"]);
    expect(resume).toBeNull();
  });
});

test("a mirror is named as hub_url has it", async () => {
  set({ models_from_hub: "rented", hub_url: "https://mirror.example:8443" });
  expect((await given()).hub).toEqual({ url: `https://mirror.example:8443/acme/small/resolve/${COMMIT}/` });
});
