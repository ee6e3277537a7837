/**
 * Golden files: from a training request and its facts to the frozen settings. `UPDATE_GOLDEN=1 bun test test/golden`
 * rewrites them.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Facts, resolveAuto } from "../../src/training/plan/defaults.ts";
import { parseTrainRequest } from "../../src/training/plan/request.ts";

const smol = {
  parameters: 134_515_008,
  context_length: 8192,
  layers: 30,
  hidden: 576,
  intermediate: 1536,
  heads: 9,
  keys: 192,
  vocabulary: 49_152,
  tied: true,
};
const small = { cpus: 2, memoryMb: 8_000, bf16: false };
const eight = {
  parameters: 8.03e9,
  context_length: 131_072,
  layers: 32,
  hidden: 4096,
  intermediate: 14_336,
  heads: 32,
  keys: 1024,
  vocabulary: 128_256,
  tied: false,
};
const seventy = {
  parameters: 70.6e9,
  context_length: 131_072,
  layers: 80,
  hidden: 8192,
  intermediate: 28_672,
  heads: 64,
  keys: 1024,
  vocabulary: 128_256,
  tied: false,
};
const server = { cpus: 64, memoryMb: 512_000, bf16: true };
const tokens = (rows: number, mean: number, max: number) => ({
  total: rows * mean,
  max,
  p95: Math.round(max * 0.8),
  over: {},
  exact: true,
});

const CASES: Record<string, { request: Record<string, unknown>; facts: Facts }> = {
  "quickstart-300-rows": {
    request: {},
    facts: { trainRows: 270, holdoutRows: 30, tokens: tokens(270, 70, 118), base: smol, machine: small },
  },
  "ten-rows": {
    request: { suffix: "few" },
    facts: { trainRows: 10, holdoutRows: 0, tokens: tokens(10, 40, 60), base: smol, machine: small },
  },
  "long-rows-little-memory": {
    request: { batch_size: 16 },
    facts: {
      trainRows: 3000,
      holdoutRows: 300,
      tokens: tokens(3000, 900, 5000),
      base: smol,
      machine: { ...small, memoryMb: 4000 },
    },
  },
  "everything-given": {
    request: {
      n_epochs: 4,
      batch_size: 6,
      learning_rate: 3e-4,
      max_steps: 100,
      max_length: 256,
      lora_r: 8,
      lora_alpha: 8,
      lora_dropout: 0.05,
      lora_layers: 10,
      target_modules: ["q_proj", "v_proj"],
      loss_on: "all",
      optimizer: "adafactor",
      scheduler: "cosine",
      warmup_ratio: 0,
      weight_decay: 0.01,
      max_grad_norm: 0.5,
      precision: "bfloat16",
      gradient_checkpointing: true,
      eval_every: 7,
      save_every: 9,
      seed: 7,
    },
    facts: { trainRows: 500, holdoutRows: 50, tokens: tokens(500, 70, 300), base: smol, machine: small },
  },
  "eight-billion-multiplier": {
    request: { learning_rate_multiplier: 0.5 },
    facts: {
      trainRows: 60_000,
      holdoutRows: 1000,
      tokens: null,
      base: eight,
      machine: { cpus: 64, memoryMb: 512_000, bf16: true },
    },
  },
  "eight-billion-on-one-80-gb": {
    request: { batch_size: 16 },
    facts: {
      trainRows: 12_000,
      holdoutRows: 200,
      tokens: tokens(12_000, 600, 1900),
      base: eight,
      machine: server,
      gpus: [{ count: 8, memoryMb: 81_559, bf16: true }],
    },
  },
  "every-weight-of-a-small-model": {
    request: { adapter: "full" },
    facts: { trainRows: 300, holdoutRows: 30, tokens: tokens(300, 80, 200), base: smol, machine: server },
  },
  "eight-billion-on-four-80-gb": {
    request: { gpus: 4 },
    facts: {
      trainRows: 12_000,
      holdoutRows: 200,
      tokens: tokens(12_000, 600, 1900),
      base: eight,
      machine: server,
      gpus: [
        { count: 2, memoryMb: 143_771, bf16: true },
        { count: 8, memoryMb: 81_559, bf16: true },
      ],
    },
  },
  "seventy-billion-on-eight-80-gb": {
    request: { gpus: 8 },
    facts: {
      trainRows: 60_000,
      holdoutRows: 1000,
      tokens: tokens(60_000, 500, 2000),
      base: seventy,
      machine: server,
      gpus: [{ count: 8, memoryMb: 81_559, bf16: true }],
    },
  },
  "seventy-billion-as-few-as-fit": {
    request: {},
    facts: {
      trainRows: 60_000,
      holdoutRows: 1000,
      tokens: tokens(60_000, 500, 2000),
      base: seventy,
      machine: server,
      gpus: [
        { count: 4, memoryMb: 16_384, bf16: false },
        { count: 8, memoryMb: 81_559, bf16: true },
      ],
    },
  },
  "two-processes-without-gpus": {
    request: { cpu_processes: 2, batch_size: 8 },
    facts: { trainRows: 270, holdoutRows: 30, tokens: tokens(270, 70, 118), base: smol, machine: small },
  },
};

const pairs = { trainRows: 200, holdoutRows: 20, tokens: tokens(200, 180, 240), base: smol, machine: small };
const METHODS: typeof CASES = {
  "pairs-of-answers": { request: {}, facts: { ...pairs, rowType: "preference" } },
  "pairs-robust-4-bits-on-24-gb": {
    request: { method: "dpo", loss: "robust", label_smoothing: 0.1, beta: 0.3, quantization: "nf4" },
    facts: {
      ...pairs,
      rowType: "preference",
      base: eight,
      machine: server,
      gpus: [{ count: 1, memoryMb: 24_564, bf16: true }],
    },
  },
  "pairs-4-bits-on-four-24-gb": {
    request: { gpus: 4, quantization: "nf4" },
    facts: {
      ...pairs,
      rowType: "preference",
      base: eight,
      machine: server,
      gpus: [{ count: 4, memoryMb: 24_564, bf16: true }],
    },
  },
  "pairs-odds-ratio": { request: { method: "orpo", rslora: true }, facts: { ...pairs, rowType: "preference" } },
  "reward-model": { request: { method: "reward" }, facts: { ...pairs, rowType: "preference" } },
  "marked-answers": { request: { undesirable_weight: 1.3 }, facts: { ...pairs, rowType: "unpaired" } },
  "plain-text-packed-8-bits": {
    request: { packing: true, quantization: "int8", dora: true, neftune_alpha: 5 },
    facts: { ...pairs, rowType: "text" },
  },
  "graded-answers": {
    request: {
      grader: {
        type: "string_check",
        name: "right",
        operation: "eq",
        input: "{{sample.output_text}}",
        reference: "{{item.answer}}",
      },
      num_generations: 4,
    },
    facts: { ...pairs, rowType: "prompt" },
  },
  "on-from-a-tuned-model": {
    request: { early_stopping: 3, keep_best: true, lora_dropout: 0.1 },
    facts: {
      ...pairs,
      rowType: "chat",
      start: { type: "lora", r: 8, alpha: 8, dropout: 0, target_modules: ["q_proj"], layers: 10 },
    },
  },
};

describe("a training request is frozen as its golden file says", () => {
  for (const [name, { request, facts }] of Object.entries({ ...CASES, ...METHODS }))
    test(name, () => {
      const parsed = parseTrainRequest({ model: "m", training_file: "file-x", ...request });
      const made = `${JSON.stringify({ request, facts, frozen: resolveAuto(parsed, facts) }, null, 2)}\n`;
      const path = join(import.meta.dir, `${name}.json`);
      if (process.env.UPDATE_GOLDEN) writeFileSync(path, made);
      expect(existsSync(path), `${path} is missing`).toBe(true);
      expect(JSON.parse(made)).toEqual(JSON.parse(readFileSync(path, "utf8")));
    });
});

describe("whatever the facts, the numbers hold together", () => {
  const sizes = [1, 3, 9, 63, 64, 300, 999, 1000, 5000, 70_000];
  for (const rows of sizes)
    test(`${rows} rows`, () => {
      for (const memoryMb of [1500, 8000]) {
        const facts = {
          trainRows: rows,
          holdoutRows: 5,
          tokens: tokens(rows, 50, 900),
          base: smol,
          machine: { ...small, memoryMb },
        };
        const { hyperparameters: h, schedule: s } = resolveAuto({ model: "m", training_file: "f" }, facts);
        expect(h.per_device_batch_size * h.gradient_accumulation).toBe(h.batch_size);
        expect(s.total_steps).toBe(
          Math.ceil(Math.ceil(rows / h.per_device_batch_size) / h.gradient_accumulation) * h.n_epochs,
        );
        expect(rows * h.n_epochs).toBeGreaterThanOrEqual(Math.min(480, rows * 25));
        expect(h.max_length).toBeLessThanOrEqual(smol.context_length);
        expect(s.save_every).toBeLessThanOrEqual(s.total_steps);
      }
    });
});

describe("an impossible split names its field", () => {
  const facts: Facts = {
    trainRows: 500,
    holdoutRows: 5,
    tokens: tokens(500, 70, 70_000),
    base: eight,
    machine: server,
    gpus: [{ count: 4, memoryMb: 24_564, bf16: true }],
  };
  const cases: [Record<string, unknown>, string][] = [
    [{ gpus: 4, batch_size: 6 }, "batch_size"],
    [{ gpus: 0, cpu_processes: 3, batch_size: 4 }, "batch_size"],
    [{ gpus: 2, cpu_processes: 2 }, "cpu_processes"],
    [{ gpus: 2, parallel: "single" }, "parallel"],
    [{ gpus: 1, parallel: "fsdp" }, "parallel"],
    [{ gpus: 0, parallel: "zero3" }, "parallel"],
    [{ gpus: 0, parallel: "ddp" }, "parallel"],
    [{ gpus: 0, cpu_processes: 2, parallel: "single" }, "parallel"],
    [{ parallel: "single", max_length: 32_768 }, "gpus"],
    [{ gpus: 2, max_length: 65_536 }, "gpus"],
  ];
  for (const [request, param] of cases)
    test(JSON.stringify(request), () => {
      const parsed = parseTrainRequest({ model: "m", training_file: "file-x", ...request });
      expect(() => resolveAuto(parsed, facts)).toThrow(expect.objectContaining({ param, kind: "invalid" }));
    });
});

describe("a setting of another method or adapter is refused by field", () => {
  const start: Facts["start"] = {
    type: "lora",
    r: 8,
    alpha: 8,
    dropout: 0,
    target_modules: "all-linear",
    layers: null,
  };
  const cases: [Record<string, unknown>, Partial<Facts>, string][] = [
    [{ beta: 0.2 }, { rowType: "chat" }, "beta"],
    [{ method: "sft", loss: "ipo" }, {}, "loss"],
    [{ loss_on: "all" }, { rowType: "preference" }, "loss_on"],
    [{ method: "orpo", label_smoothing: 0.1 }, { rowType: "preference" }, "label_smoothing"],
    [{ method: "dpo", undesirable_weight: 2 }, { rowType: "preference" }, "undesirable_weight"],
    [{ center: 0.1 }, { rowType: "unpaired" }, "center"],
    [{ lora_r: 16 }, { start }, "lora_r"],
    [{ dora: true }, { start }, "dora"],
    [{ target_modules: ["q_proj"] }, { start }, "target_modules"],
  ];
  for (const [request, facts, param] of cases)
    test(JSON.stringify([request, facts.rowType]), () => {
      const parsed = parseTrainRequest({ model: "m", training_file: "file-x", ...request });
      expect(() => resolveAuto(parsed, { ...pairs, ...facts })).toThrow(
        expect.objectContaining({ param, kind: "invalid" }),
      );
    });

  test("is accepted while the rows are unknown", () => {
    const request = parseTrainRequest({ model: "m", training_file: "file-x", beta: 0.2 });
    expect(resolveAuto(request, pairs).method.type).toBe("sft");
  });
});

describe("with any number of GPUs, the batch size is exact and each GPU fits its share", () => {
  for (const gpus of [1, 2, 3, 4, 6, 8])
    for (const rows of [10, 500, 70_000])
      test(`${gpus} GPUs, ${rows} rows`, () => {
        const facts: Facts = {
          trainRows: rows,
          holdoutRows: 5,
          tokens: tokens(rows, 50, 900),
          base: eight,
          machine: server,
          gpus: [{ count: 8, memoryMb: 40_960, bf16: true }],
        };
        const { hyperparameters: h, parallel, need } = resolveAuto({ model: "m", training_file: "f", gpus }, facts);
        expect(h.per_device_batch_size * h.gradient_accumulation * parallel.processes).toBe(h.batch_size);
        expect([need.gpus, parallel.processes]).toEqual([gpus, gpus]);
        expect(need.gpu_memory_mb).toBeGreaterThan((8.03e9 * 2) / 2 ** 20 / gpus);
        expect(need.gpu_memory_mb).toBeLessThanOrEqual(40_960);
      });
});
