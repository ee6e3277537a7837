/**
 * The plan before a job: memory by its parts, what machines are offered for it, what would make it fit, and what
 * finished runs teach it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { eq } from "drizzle-orm";
import type { Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { Need, TrainSpec } from "../../src/contract/spec.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { baseModel } from "../../src/db/schema/models.ts";
import { newId } from "../../src/lib/ids.ts";
import { adviseOutOfMemory } from "../../src/training/plan/oom-advice.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { chatLines } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { TINY_MODEL } from "../support/tiny.ts";

interface OfferView {
  provider: string;
  location: string;
  fits: boolean;
  memory_mb: number;
  needed_mb: number;
  basis: string;
  runs: number;
  seconds_range: [number, number];
  cost_range_usd: [number, number];
  suggestion: SuggestionView | null;
}
interface SuggestionView {
  change: Record<string, unknown>;
  effect: string;
  memory_mb: number;
  words: string;
}
interface PlanView {
  spec: TrainSpec;
  memory_mb: number;
  memory: {
    device: string;
    total_mb: number;
    margin_mb: number;
    parts_mb: Record<string, number>;
    correction: number;
    runs: number;
    runs_out_of_memory: number;
  };
  offers: OfferView[];
  providers_without_answer: string[];
  suggestion: SuggestionView | null;
  warnings: string[];
  rows_cut: number;
  longest_row: number;
}

const MACHINE: Offer = {
  id: "m",
  location: "cellar",
  gpus: 0,
  gpuName: null,
  gpuMemoryMb: 0,
  cpus: 8,
  memoryMb: 200_000,
  pricePerHour: 0,
  startsInS: 0,
  available: true,
  local: false,
};
/** What the provider of this test has; it answers as the contract says, with what meets the need alone. */
let shelf: Offer[] = [];
let slow = false;
let lab: TestApp;
let fileId: string;

function registry(): ComputeRegistry {
  const plugin: ProviderPlugin = {
    id: "shelf",
    title: "Shelf",
    contract: 1,
    kind: "machine",
    config: [],
    capabilities: { logs: false, gpus: true, survivesServer: true, local: false },
    create: () => provider,
  };
  const never = () => Promise.reject(new Error("nothing is launched here"));
  const provider: Provider = {
    validate: async () => ({ ok: true }),
    offers: async (need: Need) => {
      if (slow) await Bun.sleep(10_000);
      return shelf.filter((one) => one.memoryMb >= need.memory_mb && one.cpus >= need.cpus && one.gpus >= need.gpus);
    },
    launch: never,
    describe: never,
    terminate: never,
    listOwned: async () => [],
  };
  return { get: (id) => (id === "shelf" ? { plugin, provider } : null), list: () => [{ plugin, provider }] };
}

const plan = (extra: Record<string, unknown> = {}) =>
  lab.json<PlanView>("POST", "/v1/jobs/plan", { body: { model: "tiny", training_file: fileId, ...extra } });

/** A run whose figures are the same on machines with and without bfloat16. */
const SHAPE = { batch_size: 8, max_length: 512, loss_on: "all", precision: "float32" };

/** A plan that asks the provider anew: answers are kept for a while. */
const LATER = 40_000;
let later = 0;

beforeAll(async () => {
  const monotonic = () => performance.now() + later;
  const clock = { now: () => Date.now(), monotonic, sleep: (ms: number) => Bun.sleep(ms) };
  lab = await createTestApp({ ctx: { compute: registry(), clock } });
  await lab.json("POST", "/v1/base_models/import", {
    body: { source: "local", directory: TINY_MODEL, id: "tiny", license: "apache-2.0" },
  });
  await until("the base", async () => (await lab.json("GET", "/v1/base_models/tiny")).status === "ready");
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(60).join("\n")}\n`], "rows.jsonl"));
  fileId = (await lab.json<{ id: string }>("POST", "/v1/files", { raw: form })).id;
  await until("the file", async () => (await lab.json("GET", `/v1/files/${fileId}`)).status !== "uploaded");
}, 60_000);
afterAll(() => lab.close());

/** A run of before, as the trainer and the pipeline leave it. */
async function ended(
  like: PlanView,
  change: { peakMb?: number; speed?: number; outOfMemory?: number },
): Promise<string> {
  const { ctx } = lab;
  const id = newId("trainJob");
  const { peakMb, speed, outOfMemory } = change;
  const canary = { rows: 4, length: 64, seconds: 1, peak_memory_mb: outOfMemory ?? 0 };
  await ctx.write(async (tx) => {
    await tx.insert(job).values({
      id,
      org: lab.orgs.a,
      kind: "train",
      name: id,
      spec: like.spec,
      metadata: {},
      attempts: 1,
      request: { model: "tiny", training_file: fileId, ...SHAPE },
      state: outOfMemory ? "failed" : "succeeded",
      progress: { ...(speed ? { tokens_per_second: speed } : {}), ...(outOfMemory ? { canary } : {}) },
      result: peakMb ? { peak_memory_mb: peakMb } : null,
      error: outOfMemory ? { code: "out_of_memory", message: "short", advice: null, param: null, detail: null } : null,
      createdBy: lab.users.admin,
      createdAt: Date.now(),
    });
    await tx.insert(attempt).values({
      id: newId("attempt"),
      org: lab.orgs.a,
      jobId: id,
      number: 1,
      state: "ended",
      provider: "shelf",
      offer: MACHINE,
      tokenHash: id,
      createdAt: Date.now(),
    });
  });
  return id;
}
/** A host of the shelf with one card, as the inventory tells of it. */
async function addCard(memoryMb: number): Promise<void> {
  const now = Date.now();
  await lab.ctx.write(async (tx) => {
    await tx.insert(host).values({
      id: "shelf.m",
      provider: "shelf",
      name: "cellar",
      cpus: 8,
      memoryMb: 200_000,
      createdAt: now,
      seenAt: now,
    });
    await tx.insert(gpu).values({
      uuid: "GPU-1",
      hostId: "shelf.m",
      position: 0,
      model: "NVIDIA L4",
      memoryMb,
      createdAt: now,
      seenAt: now,
    });
  });
}
const forget = () =>
  lab.ctx.write(async (tx) => {
    await tx.delete(attempt);
    await tx.delete(job);
  });

describe("offers", () => {
  test("every machine is told with its room, time and cost at least and at most, those it fits on and the cheapest first", async () => {
    later += LATER;
    shelf = [
      { ...MACHINE, id: "dear", location: "dear", pricePerHour: 8 },
      { ...MACHINE, id: "small", location: "small", memoryMb: 300, pricePerHour: 0.1 },
      { ...MACHINE, id: "cheap", location: "cheap", pricePerHour: 2 },
    ];
    const made = await plan();
    expect(made.offers.map((one) => one.location)).toEqual(["cheap", "dear", "small"]);
    const [cheap, dear, small] = made.offers as [OfferView, OfferView, OfferView];
    expect([cheap.fits, dear.fits, small.fits]).toEqual([true, true, false]);
    expect(cheap.needed_mb).toBe(made.memory_mb);
    const [low, high] = cheap.seconds_range;
    expect(low).toBeGreaterThan(0);
    expect(high).toBeGreaterThan(low);
    expect(cheap.cost_range_usd).toEqual([(low / 3600) * 2, (high / 3600) * 2]);
    expect(dear.cost_range_usd[1]).toBeCloseTo(cheap.cost_range_usd[1] * 4);
    expect(cheap).toMatchObject({ basis: "default", runs: 0 });
    expect(made.suggestion).toBeNull();
    expect((await plan({ max_price_per_hour: 5 })).offers.map((one) => one.location)).toEqual(["cheap", "small"]);
  });

  test("a provider that does not answer holds nobody up", async () => {
    later += LATER;
    slow = true;
    const began = performance.now();
    const made = await plan();
    slow = false;
    expect(performance.now() - began).toBeLessThan(5000);
    expect(made).toMatchObject({ offers: [], providers_without_answer: ["Shelf"] });
  });
});

describe("memory", () => {
  test("its parts and the margin are what is asked for", async () => {
    const { memory, memory_mb, spec } = await plan();
    const sum = Object.values(memory.parts_mb).reduce((a, b) => a + b, 0) + memory.margin_mb;
    expect(Math.abs(sum - memory.total_mb)).toBeLessThan(10);
    expect(memory).toMatchObject({ device: "cpu", correction: 1, runs: 0 });
    expect([spec.need.memory_mb, memory_mb]).toEqual([memory.total_mb, memory.total_mb]);
  });

  test("finished runs of the same kind correct it, by the median; others do not", async () => {
    const before = await plan();
    const formula = before.spec.need.formula_mb ?? 0;
    for (const ratio of [0.7, 0.8, 3]) await ended(before, { peakMb: formula * ratio });
    const after = await plan();
    expect(after.memory.correction).toBeCloseTo(0.8);
    expect(after.memory.runs).toBe(3);
    expect(after.memory_mb / before.memory_mb).toBeCloseTo(0.8, 2);
    expect(after.spec.need.formula_mb).toBe(formula);
    for (const other of [{ quantization: "nf4" }, { adapter: "full" }])
      expect((await plan(other)).memory).toMatchObject({ correction: 1, runs: 0 });
    await forget();
  });

  test("a run that was short of memory is a lower bound", async () => {
    const before = await plan();
    const formula = before.spec.need.formula_mb ?? 0;
    await ended(before, { peakMb: formula * 0.9 });
    await ended(before, { outOfMemory: formula * 1.6 });
    const after = await plan();
    expect(after.memory).toMatchObject({ runs: 2, runs_out_of_memory: 1 });
    expect(after.memory.correction).toBeCloseTo(1.6);
    await forget();
  });
});

test("the speed of finished runs there makes the time surer", async () => {
  later += LATER;
  shelf = [MACHINE];
  const before = await plan();
  await ended(before, { speed: 1000 });
  const [offer] = (await plan()).offers;
  expect(offer).toMatchObject({ basis: "history", runs: 1 });
  const [low, high] = offer?.seconds_range ?? [0, 0];
  expect(high / low).toBeLessThan(2);
  await forget();
});

test("rows that will be cut are told in a sentence, with how many they are and how long the longest is", async () => {
  const made = await plan({ max_length: 16 });
  expect(made.rows_cut).toBeGreaterThan(0);
  expect(made.warnings.join(" ")).toMatch(/\d+ of \d+ rows \(\d+%\) are longer than 16 tokens, the longest has \d+/);
});

describe("the smallest change that makes it fit", () => {
  const room = async (memoryMb: number) => {
    later += LATER;
    shelf = [{ ...MACHINE, memoryMb }];
    return plan(SHAPE);
  };
  /** A model whose activations weigh. */
  beforeAll(async () => {
    await lab.ctx.write((tx) =>
      tx
        .update(baseModel)
        .set({
          architecture: {
            parameters: 1.2e9,
            layers: 16,
            hidden_size: 2048,
            intermediate_size: 8192,
            attention_heads: 32,
            key_value_heads: 8,
            head_dim: 64,
            vocab_size: 49_152,
            tied_embeddings: true,
            context_length: 2048,
          },
        })
        .where(eq(baseModel.id, "tiny")),
    );
  });

  test("first what leaves the result as it is, then what costs quality, and nothing when nothing helps", async () => {
    const all = await room(200_000);
    expect(all.suggestion).toBeNull();
    const some = await room(all.memory_mb - 100);
    expect(some.offers[0]).toMatchObject({ fits: false, memory_mb: all.memory_mb - 100 });
    expect(some.suggestion).toMatchObject({ effect: "same" });
    expect(Object.keys(some.suggestion?.change ?? {})).toEqual(["per_device_batch_size"]);
    const less = await room(5000);
    expect(less.suggestion?.effect).toBe("quality");
    expect(less.suggestion?.change).toHaveProperty("quantization");
    expect((await room(1000)).suggestion).toBeNull();
  });

  test("what it says is what a plan with it comes to", async () => {
    const { suggestion } = await room(7000);
    const made = await plan({ ...SHAPE, ...suggestion?.change });
    expect(made.memory_mb).toBe(suggestion?.memory_mb ?? 0);
    expect(made.offers[0]?.fits).toBe(true);
    expect(made.spec.hyperparameters.batch_size).toBe(8);
  });

  test("a run that was short of memory is told what would fit, measured by what it took", async () => {
    const wide = await room(200_000);
    const id = await ended(wide, { outOfMemory: (wide.spec.need.formula_mb ?? 0) * 1.2 });
    await room(wide.memory_mb);
    await adviseOutOfMemory(lab.ctx, id);
    const { error } = await lab.json<{ error: { advice: string; suggestion: object } }>("GET", `/v1/jobs/${id}`);
    expect(error.advice).toStartWith("Smallest change that makes it fit: set the per-device batch size");
    expect(Object.keys(error.suggestion)).toEqual(["per_device_batch_size"]);
    const page = await (await lab.request("GET", `/jobs/${id}`)).text();
    const href = /href="(\/jobs\/new\?[^"]+)"[^>]*><[^>]*>[\s\S]{0,200}Apply change and run/.exec(page)?.[1] ?? "";
    const form = await (await lab.request("GET", href.replaceAll("&amp;", "&"))).text();
    expect(form).toMatch(/name="per_device_batch_size"[^>]*value="[1-4]"/);
    await room(200_000);
    const again = await ended(wide, { outOfMemory: (wide.spec.need.formula_mb ?? 0) * 1.5 });
    await adviseOutOfMemory(lab.ctx, again);
    const second = await lab.json<{ error: { advice: string; suggestion?: object } }>("GET", `/v1/jobs/${again}`);
    expect(second.error.advice).toStartWith("The memory it needs is now known. Run the job again");
    expect(second.error.suggestion).toBeUndefined();
    await forget();
  });

  test("what fits no GPU there is gets a plan that says by how much, while a job of it is refused", async () => {
    later += LATER;
    const card = { gpus: 1, gpuName: "NVIDIA L4", gpuMemoryMb: 4000 };
    shelf = [{ ...MACHINE, ...card }];
    await addCard(4000);
    const request = { batch_size: 8, max_length: 512, loss_on: "all", gpus: 1 };
    const made = await plan(request);
    expect(made.memory.device).toBe("gpu");
    expect(made.offers[0]).toMatchObject({ fits: false, memory_mb: 4000 });
    expect(made.suggestion?.memory_mb).toBeLessThanOrEqual(4000);
    const refused = await lab.request("POST", "/v1/jobs", {
      body: { model: "tiny", training_file: fileId, ...request },
    });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { code: "does_not_fit", param: "gpus" } });
    expect((await plan({ ...request, ...made.suggestion?.change })).offers[0]?.fits).toBe(true);
    await lab.ctx.write(async (tx) => {
      await tx.delete(gpu);
      await tx.delete(host);
    });
  });

  test("the page offers it as one button, which fills the form", async () => {
    await room(7000);
    const form = { data: fileId, model: "tiny", method: "auto", ...SHAPE, batch_size: "8", max_length: "512" };
    const page = await (await lab.request("POST", "/jobs/plan", { form })).text();
    const value = /name="change" value="([^"]+)"/.exec(page)?.[1]?.replaceAll("&amp;", "&") ?? "";
    expect(page).toContain("Smallest change that makes it fit");
    const [name, first] = [...new URLSearchParams(value)][0] ?? [];
    const after = await (await lab.request("POST", "/jobs/plan", { form: { ...form, change: value } })).text();
    expect(after).not.toContain("Smallest change that makes it fit");
    expect(after).toMatch(
      new RegExp(`name="${name}"[^>]*value="${first}"|name="${name}"[\\s\\S]{0,600}value="${first}" selected`),
    );
  });

  test.skipIf(!hasBrowser)(
    "one click in a browser fills the form, and the plan fits",
    async () => {
      await room(7000);
      const lasting = await openBrowser(lab);
      const { page } = lasting;
      await page.goto(`${lasting.base}/jobs/new?model=tiny&data=${fileId}`);
      await page.getByText("Hyperparameters").click();
      for (const [name, value] of [
        ["batch_size", "8"],
        ["max_length", "512"],
      ] as const)
        await page.fill(`[name=${name}]`, value);
      await page.selectOption("[name=loss_on]", "all");
      await page.selectOption("[name=precision]", "float32");
      const button = page.getByRole("button", { name: "Apply change" });
      await button.waitFor();
      expect(await page.locator(".memory-bar").getAttribute("aria-label")).toContain("Activations");
      await button.click();
      await page.getByText("fits", { exact: true }).waitFor();
      expect(await page.inputValue("[name=per_device_batch_size]")).not.toBe("");
      expect(await page.inputValue("[name=max_length]")).toBe("512");
      expect(await button.count()).toBe(0);
      expect(lasting.troubles).toEqual([]);
      await lasting.close();
    },
    60_000,
  );
});
