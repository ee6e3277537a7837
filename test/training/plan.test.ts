/** The plan of a job: offers, memory by parts, corrections by finished runs, and warnings. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { validationRows } from "../../src/contract/spec.ts";
import { moduleProblem } from "../../src/training/plan/module-names.ts";
import { chatLines } from "../support/datasets.ts";
import { until } from "../support/live.ts";
import { MACHINE, type OfferView, type PlanLab, startPlanLab } from "../support/plan-lab.ts";

let p: PlanLab;
beforeAll(async () => {
  p = await startPlanLab();
}, 60_000);
afterAll(() => p.lab.close());

describe("offers", () => {
  test("list every machine with memory, time and cost ranges, those that fit and the cheapest first", async () => {
    p.offer([
      { ...MACHINE, id: "dear", location: "dear", pricePerHour: 8 },
      { ...MACHINE, id: "small", location: "small", memoryMb: 300, pricePerHour: 0.1 },
      { ...MACHINE, id: "cheap", location: "cheap", pricePerHour: 2 },
    ]);
    const made = await p.plan();
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
    const limited = (await p.plan({ max_price_per_hour: 5 })).offers.map(({ location, out }) => [location, out]);
    const why = "dear at Shelf costs $8.00 per hour, more than the job's maximum of $5.00";
    expect(limited).toEqual([
      ["cheap", null],
      ["dear", why],
      ["small", null],
    ]);
  });

  test("are sorted by the total cost: spot before on demand where it is cheaper with what preemption repeats", async () => {
    const spot = { ...MACHINE, market: "spot" as const };
    p.offer([
      { ...MACHINE, market: "on_demand", id: "demand", location: "demand", pricePerHour: 2 },
      { ...spot, id: "dear", location: "dear spot", pricePerHour: 1.9999 },
      { ...spot, id: "cheap", location: "cheap spot", pricePerHour: 1.5 },
      { ...MACHINE, market: "on_demand", id: "fast", location: "fast", cpus: 64, pricePerHour: 1.6 },
    ]);
    const { offers } = await p.plan({ n_epochs: 50 });
    expect(offers.map((one) => one.location)).toEqual(["fast", "cheap spot", "demand", "dear spot"]);
    const [fast, cheap, demand, dear] = offers as [OfferView, OfferView, OfferView, OfferView];
    expect([fast, cheap, demand, dear].map((one) => one.preemptions_per_hour)).toEqual([0, 0.05, 0, 0.05]);
    expect(dear.total_usd).toBeGreaterThan(demand.total_usd ?? 0);
    expect(demand.total_usd).toBeGreaterThan(demand.cost_range_usd[0]);
    expect(demand.total_usd).toBeLessThan(demand.cost_range_usd[1]);
  });

  test("do not wait for a provider that does not answer", async () => {
    p.offer(p.shelf.offers);
    p.shelf.slow = true;
    const began = performance.now();
    const made = await p.plan();
    p.shelf.slow = false;
    expect(performance.now() - began).toBeLessThan(5000);
    expect(made).toMatchObject({ offers: [], providers_without_answer: ["Shelf"] });
  });
});

describe("memory", () => {
  test("is the sum of its parts and the margin", async () => {
    const { memory, memory_mb, spec } = await p.plan();
    const sum = Object.values(memory.parts_mb).reduce((a, b) => a + b, 0) + memory.margin_mb;
    expect(Math.abs(sum - memory.total_mb)).toBeLessThan(10);
    expect(memory).toMatchObject({ device: "cpu", correction: 1, runs: 0 });
    expect([spec.need.memory_mb, memory_mb]).toEqual([memory.total_mb, memory.total_mb]);
  });

  test("is corrected by the median of finished runs of the same kind, and by no others", async () => {
    const before = await p.plan();
    const formula = before.spec.need.formula_mb ?? 0;
    for (const ratio of [0.7, 0.8, 3]) await p.ended(before, { peakMb: formula * ratio });
    const after = await p.plan();
    expect(after.memory.correction).toBeCloseTo(0.8);
    expect(after.memory.runs).toBe(3);
    expect(after.memory_mb / before.memory_mb).toBeCloseTo(0.8, 2);
    expect(after.spec.need.formula_mb).toBe(formula);
    for (const other of [{ quantization: "nf4" }, { adapter: "full" }])
      expect((await p.plan(other)).memory).toMatchObject({ correction: 1, runs: 0 });
    await p.forget();
  });

  test("is at least what a run needed that ran out of memory", async () => {
    const before = await p.plan();
    const formula = before.spec.need.formula_mb ?? 0;
    await p.ended(before, { peakMb: formula * 0.9 });
    await p.ended(before, { outOfMemory: formula * 1.6 });
    const after = await p.plan();
    expect(after.memory).toMatchObject({ runs: 2, runs_out_of_memory: 1 });
    expect(after.memory.correction).toBeCloseTo(1.6);
    await p.forget();
  });
});

describe("a validation file", () => {
  /** Uploads rows as a dataset without a validation split of its own, or with the default one. */
  async function upload(rows: number, holdout?: number): Promise<string> {
    const form = new FormData();
    form.set("file", new File([`${chatLines(rows).join("\n")}\n`], `rows-${rows}.jsonl`));
    if (holdout !== undefined) form.set("holdout_fraction", String(holdout));
    const { id } = await p.lab.json<{ id: string }>("POST", "/v1/datasets", { raw: form });
    await until("the rows", async () => {
      const { data } = await p.lab.json<{ data: { status: string }[] }>("GET", `/v1/datasets/${id}/versions`);
      return data[0]?.status === "ready";
    });
    return id;
  }
  const NONE = "No validation rows";

  test.each([
    // training rows, share withheld, validation rows -> trained, validation, of these in each evaluation
    [60, undefined, 0, { train: 54, validation: 6, evaluated: 6 }],
    [60, 0, 0, { train: 60, validation: 0, evaluated: 0 }],
    [60, undefined, 20, { train: 60, validation: 20, evaluated: 20 }],
    [60, 0, 20, { train: 60, validation: 20, evaluated: 20 }],
    [60, undefined, 300, { train: 60, validation: 300, evaluated: 128 }],
  ] as const)("with %d rows, share %p withheld, and %d validation rows", async (rows, share, validation, wanted) => {
    const training_file = await upload(rows, share);
    const extra = { training_file, ...(validation ? { validation_file: await upload(validation) } : {}) };
    const made = await p.plan(extra);
    const { dataset, schedule } = made.spec;
    expect({ train: dataset.train_rows, validation: validationRows(made.spec), evaluated: schedule.eval_rows }).toEqual(
      wanted,
    );
    const { n_epochs, batch_size } = made.spec.hyperparameters;
    expect(schedule.total_steps).toBe(Math.ceil(wanted.train / batch_size) * n_epochs);
    expect(made.warnings.some((one) => one.includes(NONE))).toBe(wanted.evaluated === 0);
    const best = p.plan({ ...extra, keep_best: true });
    if (wanted.evaluated) expect((await best).spec.hyperparameters.keep_best).toBe(true);
    else expect(best).rejects.toThrow("this data has none");
    const space = { learning_rate: [0.001, 0.002] };
    const sweep = await p.lab.json<{ metric: string }>("POST", "/v1/sweeps/plan", {
      body: { training: { model: "tiny", ...extra }, space },
    });
    expect(sweep.metric).toBe(wanted.evaluated ? "eval/loss" : "train/loss");
  });

  test("adds the tokens of the rows that are no longer withheld", async () => {
    const once = { n_epochs: 1 };
    const withheld = await p.plan(once);
    const whole = await p.plan({ ...once, validation_file: await upload(21) });
    expect((whole.tokens ?? 0) / (withheld.tokens ?? 1)).toBeCloseTo(60 / 54, 2);
  });

  test("with the rows of the training file is warned about", async () => {
    const same = await p.plan({ validation_file: p.fileId });
    expect(same.warnings.join(" ")).toContain("same rows as the training file");
    const other = await p.plan({ validation_file: await upload(22) });
    expect(other.warnings.join(" ")).not.toContain("same rows");
  });
});

describe("target modules", () => {
  const LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
  const inLayers = LLAMA.flatMap((name) =>
    [0, 1].map((n) => `model.layers.${n}.${name.length === 6 ? "self_attn" : "mlp"}.${name}`),
  );
  const paths = ["model.embed_tokens", "lm_head", ...inLayers];

  test.each([
    [false, ["q_proj", "up_proj"], null, null],
    [true, ["self_attn.q_proj", "model.layers.1.mlp.up_proj"], null, null],
    [
      true,
      ["q_proj", "query"],
      null,
      "'query', and base has no such module. It has down_proj, gate_proj, k_proj, o_proj,",
    ],
    [true, ["proj"], null, "'proj', and base has no such module"],
    [true, ["self_attn"], null, "no such module"],
    [true, ["input_layernorm"], null, "no such module"],
    [true, ["embed_tokens"], null, "as embedding and as output head"],
    [true, ["q_proj", "model.embed_tokens"], null, "as embedding and as output head"],
    [true, ["lm_head"], null, "as embedding and as output head"],
    [false, ["lm_head"], null, "would never be trained. It has down_proj, embed_tokens, gate_proj"],
    [false, ["embed_tokens", "q_proj"], null, null],
    [false, ["embed_tokens", "q_proj"], 1, "cannot be combined with 'lora_layers'"],
    [false, ["q_proj"], 1, null],
  ] as const)("with tied embeddings %p, %j, layers %p", (tied, names, lora_layers, says) => {
    const problem = moduleProblem({ target_modules: [...names], lora_layers }, paths, { id: "base", tied });
    if (says === null) expect(problem).toBeNull();
    else expect(problem).toContain(says);
  });

  test.each([
    [
      ["q_proj", "query_proj"],
      "tiny has no such module. It has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj.",
    ],
    [["embed_tokens"], "uses one matrix as embedding and as output head"],
    [["lm_head"], "uses one matrix as embedding and as output head"],
    [["input_layernorm"], "no such module"],
  ])("%j are refused when a job is created, by their field in either API", async (names, says) => {
    const own = { model: "tiny", training_file: p.fileId };
    for (const [path, body, param] of [
      ["/v1/jobs", { ...own, target_modules: names }, "target_modules"],
      ["/v1/fine_tuning/jobs", { ...own, ftl: { target_modules: names } }, "ftl.target_modules"],
    ] as const) {
      const answer = await p.lab.request("POST", path, { body });
      const { error } = (await answer.json()) as { error: { param: string; message: string } };
      expect([answer.status, error.param]).toEqual([400, param]);
      expect(error.message).toContain(says);
    }
    expect((await p.plan({ target_modules: ["q_proj", "down_proj"] })).spec.method.adapter).toMatchObject({
      target_modules: ["q_proj", "down_proj"],
    });
  });
});

describe("few steps", () => {
  const FEW = "may be too few to learn from";

  // 60 rows, of which 54 are for training.
  test.each([
    [{}, { steps: 126, warmup: 0.1, says: null }],
    [
      { n_epochs: 2, batch_size: 8 },
      { steps: 14, warmup: 0.1, says: "Only 14 steps of 8 rows" },
    ],
    [
      { n_epochs: 2, batch_size: 8 },
      { steps: 14, warmup: 0.1, says: "Raise n_epochs to 6, or leave" },
    ],
    [
      { n_epochs: 6, batch_size: 8 },
      { steps: 42, warmup: 0.1, says: null },
    ],
    [
      { n_epochs: 1, batch_size: 54 },
      { steps: 1, warmup: 0, says: "Only 1 step of 54 rows" },
    ],
    [
      { n_epochs: 1, batch_size: 54 },
      { steps: 1, warmup: 0, says: "Raise n_epochs to 40" },
    ],
    [
      { n_epochs: 2, batch_size: 256 },
      { steps: 2, warmup: 0, says: "Raise n_epochs to 40" },
    ],
    [{ max_steps: 9 }, { steps: 9, warmup: 0, says: "Raise max_steps, or leave it out" }],
    [{ max_steps: 10 }, { steps: 10, warmup: 0.1, says: "Raise max_steps" }],
    [
      { max_steps: 3, warmup_ratio: 0.5 },
      { steps: 3, warmup: 0, says: "The warm-up is left out" },
    ],
    [
      { max_steps: 30, warmup_ratio: 0.5 },
      { steps: 30, warmup: 0.5, says: FEW },
    ],
    [
      { method: "sft", adapter: "full", max_steps: 2 },
      { steps: 2, warmup: 0, says: FEW },
    ],
  ] as const)("%j", async (given, { steps, warmup, says }) => {
    const { spec, warnings } = await p.plan(given);
    expect([spec.schedule.total_steps, spec.hyperparameters.warmup_ratio]).toEqual([steps, warmup]);
    if (says) expect(warnings.join("\n")).toContain(says);
    else expect(warnings.join("\n")).not.toContain(FEW);
  });

  test("are in the history of a job that OpenAI's client created with such numbers", async () => {
    const create = (hyperparameters: object) =>
      p.lab.json<{ id: string }>("POST", "/v1/fine_tuning/jobs", {
        body: { model: "tiny", training_file: p.fileId, hyperparameters },
      });
    const warned = async (id: string) => {
      const path = `/v1/fine_tuning/jobs/${id}/events?limit=100`;
      const { data } = await p.lab.json<{ data: { level: string; message: string }[] }>("GET", path);
      return data.filter(({ level, message }) => level === "warn" && message.includes(FEW)).length;
    };
    expect(await warned((await create({ n_epochs: 2, batch_size: 8 })).id)).toBe(1);
    expect(await warned((await create({ n_epochs: "auto", batch_size: "auto" })).id)).toBe(0);
    await p.forget();
  });
});

test("the throughput of finished runs narrows the time range", async () => {
  p.offer([MACHINE]);
  const before = await p.plan();
  await p.ended(before, { speed: 1000 });
  const [offer] = (await p.plan()).offers;
  expect(offer).toMatchObject({ basis: "history", runs: 1 });
  const [low, high] = offer?.seconds_range ?? [0, 0];
  expect(high / low).toBeLessThan(2);
  await p.forget();
});

test("a warning names the number of truncated rows and the longest one", async () => {
  const made = await p.plan({ max_length: 50 });
  expect(made.rows_cut).toBeGreaterThan(0);
  expect(made.warnings.join(" ")).toMatch(/\d+ of \d+ rows \(\d+%\) are longer than 50 tokens, the longest has \d+/);
});
