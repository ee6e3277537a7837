/** Whether base models fit the machines here: the pure decision, over HTTP, and on the pages with the next step. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { CATALOGUE } from "../../src/models/base/catalogue.ts";
import { catalogueArchitecture } from "../../src/models/base/model.ts";
import { type Fit, type FittedModel, fitOn, type Machines } from "../../src/training/plan/fits.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { readyBase } from "../support/models.ts";

const PAGE = { accept: "text/html" };
const machine = { cpus: 8, memoryMb: 24_000, bf16: false };
const gpus = (count: number, memoryMb: number): Machines => ({
  machine: { ...machine, memoryMb: 1_000_000 },
  gpus: [{ count, memoryMb, bf16: true }],
});
const modelOf = (id: string) => {
  const entry = CATALOGUE.find((one) => one.id === id);
  if (!entry) throw new Error(id);
  const { parameters, context } = entry;
  return { parameters, context_length: context, architecture: catalogueArchitecture(entry) };
};

describe("the decision", () => {
  const cases: [string, Machines, string, Partial<Fit>][] = [
    [
      "a small model on a machine",
      { machine, gpus: [] },
      "smollm2-135m-instruct",
      { fits: true, quantization: "none" },
    ],
    ["a model that fits in 4 bits", { machine, gpus: [] }, "qwen3-8b", { fits: true, quantization: "nf4" }],
    ["a model too large in 4 bits", { machine, gpus: [] }, "llama-3.3-70b-instruct", { fits: false, device: "cpu" }],
    ["one GPU", gpus(1, 24_000), "qwen3-8b", { fits: true, quantization: "none", device: "gpu", gpus: 1 }],
    ["one GPU, in 4 bits", gpus(1, 24_000), "qwen3-14b", { fits: true, quantization: "nf4", gpus: 1 }],
    ["one GPU that is too small", gpus(1, 24_000), "llama-3.3-70b-instruct", { fits: false, available_mb: 24_000 }],
    ["several GPUs together", gpus(8, 80_000), "llama-3.3-70b-instruct", { fits: true, quantization: "none", gpus: 4 }],
    [
      "a host with too little main memory for the weights",
      { ...gpus(1, 80_000), machine: { ...machine, memoryMb: 8000 } },
      "qwen3-14b",
      { fits: false },
    ],
  ];
  test.each(cases)("%s", (_, machines, id, expected) => {
    const fit = fitOn(machines, modelOf(id));
    expect(fit).toMatchObject(expected);
    expect((fit?.needed_mb ?? 0) <= (fit?.available_mb ?? 0) || fit?.fits === false).toBe(true);
  });

  test("a model of unknown size has none", () => {
    expect(fitOn(gpus(1, 24_000), { parameters: null, context_length: null, architecture: {} })).toBeNull();
  });
});

describe("over HTTP", () => {
  let t: TestApp;
  beforeAll(async () => {
    t = await createTestApp({ config: { providers: ["process", "docker"] } });
  });
  afterAll(() => t.close());

  const list = (as: "admin" | "member" = "admin") =>
    t.json<{ data: FittedModel[] }>("GET", "/v1/base_models", { as }).then(({ data }) => data);
  const page = async (query: string, as: "admin" | "member" = "admin") =>
    (await t.request("GET", `/models?tab=base${query}`, { as, headers: PAGE })).text();
  const rowOf = (html: string, id: string) => html.match(new RegExp(`<tr id="row-${id}">[\\s\\S]*?</tr>`))?.[0] ?? "";

  test("the list has the download, whether it fits, and who may install it", async () => {
    const of = (rows: FittedModel[], id: string) => rows.find((one) => one.id === id);
    const rows = await list();
    expect(of(rows, "smollm2-135m-instruct")).toMatchObject({ download_bytes: 98_000_000, fit: { fits: true } });
    expect(of(rows, "qwen3-0.6b")).toMatchObject({ download_bytes: 2 * 596_049_920, install_refused: null });
    expect(of(rows, "llama-3.2-1b-instruct")?.install_refused).toContain("has to accept the license first");
    const member = of(await list("member"), "qwen3-0.6b");
    expect(member?.install_refused).toContain("only administrators download models from the hub");
    expect((await t.json<FittedModel>("GET", "/v1/base_models/qwen3-0.6b")).fit).toEqual(
      of(rows, "qwen3-0.6b")?.fit ?? null,
    );
  });

  test("a GPU of a ready host counts, one of a cordoned host does not", async () => {
    const now = t.ctx.clock.now();
    const times = { createdAt: now, seenAt: now };
    const atlas = {
      id: "docker.atlas",
      provider: "docker",
      name: "atlas",
      cpus: 8,
      memoryMb: 500_000,
      local: false,
      ...times,
    };
    const card = { uuid: "GPU-1", hostId: atlas.id, position: 0, model: "H200", memoryMb: 140_000, ...times };
    await t.ctx.write(async (tx) => {
      await tx.insert(host).values(atlas);
      await tx.insert(gpu).values(card);
    });
    const fits = async () => (await list()).find((row) => row.id === "llama-3.3-70b-instruct")?.fit;
    expect(await fits()).toMatchObject({ fits: true, device: "gpu", quantization: "nf4", available_mb: 140_000 });
    await t.ctx.write((tx) => tx.update(host).set({ state: "cordoned" }));
    expect(await fits()).toMatchObject({ device: "cpu" });
  });

  test("each row has its next step, and filters narrow the list", async () => {
    await readyBase(t.ctx, "mine");
    const html = await page("");
    expect(rowOf(html, "qwen3-0.6b")).toContain('action="/models/qwen3-0.6b/install"');
    expect(rowOf(html, "qwen3-0.6b")).toContain("about 1.1 GB");
    expect(rowOf(html, "llama-3.2-1b-instruct")).toContain('href="/models/llama-3.2-1b-instruct#license"');
    expect(rowOf(html, "mine")).toContain('href="/jobs/new?model=mine"');
    // A member cannot download from the hub, and gets no button for it.
    expect(rowOf(await page("", "member"), "qwen3-0.6b")).not.toContain("/install");
    expect(rowOf(await page("", "member"), "smollm2-135m-instruct")).toContain("/install");
    const rows = (text: string) => [...text.matchAll(/<tr id="row-([^"]+)">/g)].map(([, id]) => id);
    expect(rows(await page("&show=ready"))).toEqual(["mine"]);
    expect(rows(await page("&q=qwen3%200.6"))).toEqual(["qwen3-0.6b"]);
    const fitting = (await list()).filter(({ fit }) => fit?.fits).map(({ id }) => id);
    expect(rows(await page("&show=fits"))).toEqual(fitting);
    expect(await page("&q=nothing-like-this")).toContain("No matches");
  });
});
