/**
 * The memory formula against measured runs on CPUs and published figures for GPUs. The figures come from
 * `bun run bench memory`.
 */
import { describe, expect, test } from "bun:test";
import { MEASURED } from "../../bench/memory-figures.ts";
import { grid } from "../../bench/memory-grid.ts";
import { PUBLISHED } from "../../bench/memory-published.ts";
import { OPTIMIZERS, type TrainSpec } from "../../src/contract/spec.ts";
import { type Facts, resolveAuto } from "../../src/training/plan/defaults.ts";
import { CPU_MARGIN, type ModelShape, memoryParts, totalMb } from "../../src/training/plan/memory.ts";
import { GPU_MARGIN } from "../../src/training/plan/parallelism.ts";

const MODELS: Record<string, ModelShape> = {
  tiny: {
    parameters: 3_219_776,
    layers: 2,
    hidden: 64,
    intermediate: 128,
    heads: 4,
    keys: 32,
    vocabulary: 49_152,
    tied: true,
  },
  smollm2: {
    parameters: 134_515_008,
    layers: 30,
    hidden: 576,
    intermediate: 1536,
    heads: 9,
    keys: 192,
    vocabulary: 49_152,
    tied: true,
  },
};
const runs = new Map(grid().map((one) => [`${one.model} ${one.name}`, one]));
const off = MEASURED.map(([name, peakMb]) => {
  const one = runs.get(name);
  const shape = MODELS[one?.model ?? ""];
  if (!one || !shape) throw new Error(`no run of the grid is called ${name}`);
  return { name, off: totalMb(memoryParts(shape, one.run)) / peakMb - 1 };
});
const at = (share: number) => {
  const sizes = off.map((one) => Math.abs(one.off)).sort((a, b) => a - b);
  return sizes[Math.floor(share * sizes.length)] ?? 0;
};

describe("runs on CPUs", () => {
  for (const one of off)
    test(`${one.name}: the plan is sufficient, and at most 30% too high`, () => {
      expect((1 + one.off) * CPU_MARGIN).toBeGreaterThanOrEqual(1);
      expect(one.off).toBeLessThan(0.3);
    });

  test("half of the estimates are within 5%, nine of ten within 12%", () => {
    expect(at(0.5)).toBeLessThan(0.05);
    expect(at(0.9)).toBeLessThan(0.12);
  });
});

describe("published runs on GPUs", () => {
  for (const { what, model, run, gib } of PUBLISHED)
    test(`${what}: the estimate is at most a sixth too low and a third too high`, () => {
      const estimate = totalMb(memoryParts(model, run)) / 1024;
      expect(estimate / gib).toBeGreaterThan(5 / 6);
      expect(estimate / gib).toBeLessThan(4 / 3);
      expect((estimate * GPU_MARGIN) / gib).toBeGreaterThan(0.95);
    });
});

test("the optimizer decides the memory of its state alone", () => {
  const [one] = grid("smollm2");
  if (!one) throw new Error("the grid is empty");
  const shape = MODELS.smollm2 as ModelShape;
  const sizes = (change: object) =>
    OPTIMIZERS.map(
      (optimizer) => Math.round(memoryParts(shape, { ...one.run, ...change, optimizer }).optimizer * 10) / 10,
    );
  // LoRA of rank 16 trains 4.88M weights: 8, 2.03, a mean per row and column, 4 and 0 bytes each.
  expect(sizes({})).toEqual([37.3, 9.5, 1.2, 18.6, 0]);
  // Full fine-tuning trains 134.5M; in 8 bits the moments of the embedding stay float32.
  expect(sizes({ whole: true })).toEqual([1026.3, 421.7, 1.8, 513.1, 0]);
  const { optimizer: _state, ...before } = memoryParts(shape, one.run);
  const { optimizer: none, ...sgd } = memoryParts(shape, { ...one.run, optimizer: "sgd" });
  expect([none, sgd]).toEqual([0, before]);
});

test("each part grows only with its own settings", () => {
  const [one] = grid("smollm2");
  if (!one) throw new Error("the grid is empty");
  const shape = MODELS.smollm2 as ModelShape;
  const parts = (change: object) => memoryParts(shape, { ...one.run, ...change });
  const before = parts({});
  const longer = parts({ length: 512 });
  expect(longer).toMatchObject({ weights: before.weights, optimizer: before.optimizer, runtime: before.runtime });
  expect(longer.logits).toBeCloseTo(2 * before.logits);
  expect(longer.activations).toBeGreaterThan(1.9 * before.activations);
  expect(parts({ quantization: "nf4" }).weights).toBeLessThan(before.weights / 3);
  expect(parts({ checkpointing: true }).activations).toBeLessThan(before.activations / 2);
  const wider = parts({ adapter: { ...one.run.adapter, r: 32 } });
  expect([wider.adapter, wider.optimizer]).toEqual([2 * before.adapter, 2 * before.optimizer]);
  expect(parts({ method: "dpo", refers: true, tuned: true }).reference).toBeCloseTo(before.adapter);
  expect(parts({ method: "grpo", refers: false, tuned: true }).reference).toBe(0);
  const split = { gpu: true, processes: 4 };
  const whole = parts({ ...split, strategy: "ddp" });
  const shared = parts({ ...split, strategy: "fsdp" });
  expect(shared.weights).toBeLessThan(whole.weights);
  expect(shared.optimizer).toBeCloseTo(whole.optimizer / 4);
  expect(parts({ ...split, strategy: "zero2" }).optimizer).toBeCloseTo(shared.optimizer);
});

describe("the memory of past runs", () => {
  const request = { model: "m", training_file: "f", gpus: 1 };
  const facts = (memoryMb: number, past: Facts["past"] = []): Facts => ({
    trainRows: 500,
    holdoutRows: 5,
    tokens: null,
    base: { ...(MODELS.smollm2 as ModelShape), context_length: 8192 },
    machine: { cpus: 8, memoryMb: 64_000, bf16: true },
    gpus: [{ count: 1, memoryMb, bf16: true }],
    past,
  });
  const plain = resolveAuto(request, facts(80_000));
  /** A similar run that used `share` of the formula's estimate. */
  const past = (share: number): NonNullable<Facts["past"]> => {
    const spec = {
      ...plain,
      need: { ...plain.need, max_price_per_hour: null, provider: null },
    } as unknown as TrainSpec;
    const memoryMb = (plain.need.formula_mb ?? 0) * share;
    return [{ spec, place: "", tokensPerSecond: null, memoryMb, atLeast: false }];
  };

  test("corrects the formula", () => {
    const { memory } = resolveAuto(request, facts(80_000, past(1.5)));
    expect(memory.factor).toBeCloseTo(1.5, 3);
    expect(memory.total / plain.memory.total).toBeCloseTo(1.5, 1);
  });

  test("allows a run on a GPU that is too small by the formula alone", () => {
    const least = resolveAuto({ ...request, per_device_batch_size: 1 }, facts(80_000)).need.gpu_memory_mb;
    const small = Math.ceil(least * 0.7);
    expect(() => resolveAuto(request, facts(small))).toThrow(expect.objectContaining({ code: "does_not_fit" }));
    expect(resolveAuto(request, facts(small, past(0.5))).need.gpu_memory_mb).toBeLessThanOrEqual(small);
  });

  test("shows the missing memory in a plan instead of refusing", () => {
    const { need } = resolveAuto(request, facts(500), { anyMemory: true });
    expect(need.gpu_memory_mb).toBeGreaterThan(500);
  });
});
