/** How many GPUs an endpoint requests, and its frozen spec when the inference image is vLLM. */
import { expect, test } from "bun:test";
import docker from "../../plugins/docker/index.ts";
import type { GpuGroup } from "../../src/compute/hosts/gpu-groups.ts";
import { pinImage } from "../../src/compute/images/service.ts";
import type { Provider } from "../../src/contract/provider.ts";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { AppError } from "../../src/errors.ts";
import { gpusForServing } from "../../src/serving/deployments/gpus.ts";
import { buildServeSpec } from "../../src/serving/deployments/spec.ts";
import { suits } from "../../src/training/scheduler/capacity.ts";
import { createTestApp } from "../support/app.ts";
import { aJob, cluster } from "../support/cluster.ts";
import { readyBase } from "../support/models.ts";

const cards = (count: number, memoryMb: number, more: Partial<GpuGroup> = {}): GpuGroup => ({
  count,
  memoryMb,
  bf16: true,
  shares: 1,
  local: true,
  ...more,
});
const EIGHT = 8.03e9;
const SEVENTY = 70.6e9;

test.each([
  ["a small model on the smallest GPU", 135e6, [cards(1, 15_360, { bf16: false })], [1, 4758, 0.9, false]],
  ["an 8B model on one GPU of 24 GB", EIGHT, [cards(2, 24_564)], [1, 21_490, 0.9, true]],
  ["an 8B model on two GPUs that are too small alone", EIGHT, [cards(2, 15_360)], [2, 12_982, 0.9, true]],
  ["a 70B model on as few of eight GPUs as possible", SEVENTY, [cards(8, 81_559)], [2, 79_283, 0.9, true]],
  ["never on three GPUs, although three would fit", SEVENTY, [cards(3, 61_000)], null],
  ["not on GPUs of two hosts", SEVENTY, [cards(1, 81_559), cards(1, 81_559)], null],
  ["not on GPUs of another machine", 135e6, [cards(8, 81_559, { local: false })], null],
  ["one share of a shared GPU", 135e6, [cards(1, 24_564, { shares: 2 })], [1, 9516, 0.45, true]],
  [
    "a whole GPU instead of a share when the shared ones are smaller",
    EIGHT,
    [cards(1, 24_564), cards(1, 15_360, { shares: 4 })],
    [1, 21_490, 0.9, true],
  ],
  ["not more than one share of a shared GPU", EIGHT, [cards(1, 24_564, { shares: 2 })], null],
  [
    "bfloat16 only when every eligible GPU supports it",
    135e6,
    [cards(1, 15_360, { bf16: false }), cards(1, 81_559)],
    [1, 4758, 0.9, false],
  ],
] as [string, number, GpuGroup[], [number, number, number, boolean] | null][])(
  "%s",
  (_, parameters, groups, expected) => {
    const found = () => gpusForServing(parameters, groups);
    if (expected === null) return expect(found).toThrow(AppError);
    const { gpus, gpu_memory_mb, gpu_memory_fraction, bf16 } = found();
    expect([gpus, gpu_memory_mb, gpu_memory_fraction, bf16]).toEqual(expected);
    // It fits into the share it fills, whichever GPU the scheduler picks.
    for (const { memoryMb, count, shares } of groups.filter(
      (one) => one.local && one.memoryMb >= gpu_memory_mb && one.count >= gpus,
    )) {
      expect(count).toBeGreaterThanOrEqual(gpus);
      expect(gpu_memory_fraction * shares).toBeLessThanOrEqual(0.9);
      expect(memoryMb * gpu_memory_fraction).toBeGreaterThan((parameters * 2) / 2 ** 20 / gpus);
    }
  },
);

test("training may run on another machine, an endpoint may not", () => {
  const [far] = cluster(1, 1).hosts;
  if (!far) throw new Error("no host");
  expect(suits(far, aJob("e", { kind: "serve" }))).toBe(false);
  expect(suits(far, aJob("t"))).toBe(true);
  expect(suits({ ...far, pool: "local" }, aJob("e", { kind: "serve" }))).toBe(true);
});

test("the frozen spec requests a GPU exactly when the image is vLLM, and the error says what is missing", async () => {
  // Nothing is launched: only the plugin's identity is read.
  const entry = { plugin: docker, provider: {} as Provider };
  const compute = { get: () => entry, list: () => [entry] };
  const t = await createTestApp({ ctx: { compute } });
  try {
    await readyBase(t.ctx, "tiny");
    const spec = () => buildServeSpec(t.ctx, t.actor("admin"), "tiny");
    const pin = (digit: string, engine: string) =>
      pinImage(t.ctx.files, "inference", {
        id: `sha256:${digit.repeat(64)}`,
        tag: "i",
        variant: "cuda",
        engine,
        version: "1",
        created_at: 1,
      });
    expect((await spec()).need.gpus).toBe(0);
    pin("a", "transformers");
    expect((await spec()).need.gpus).toBe(0);
    pin("b", "vllm");
    await expect(spec()).rejects.toMatchObject({ code: "no_gpu" });
    const now = t.ctx.clock.now();
    await t.ctx.write(async (tx) => {
      const machine = { provider: "docker", cpus: 8, memoryMb: 64_000, createdAt: now, seenAt: now };
      await tx.insert(host).values([
        { id: "docker.here", name: "here", local: true, ...machine },
        { id: "docker.far", name: "far", local: false, ...machine },
      ]);
      const card = { position: 0, createdAt: now, seenAt: now };
      await tx.insert(gpu).values([
        { uuid: "GPU-1", hostId: "docker.here", model: "Tesla T4", memoryMb: 15_360, ...card },
        { uuid: "GPU-2", hostId: "docker.far", model: "NVIDIA H100 80GB HBM3", memoryMb: 81_559, ...card },
      ]);
    });
    const { need, precision, gpu_memory_fraction, trainer, limits } = await spec();
    expect(need).toMatchObject({ gpus: 1, gpu_memory_mb: 4473, cpus: 1 });
    expect({ precision, gpu_memory_fraction, image: trainer.image }).toEqual({
      precision: "float32",
      gpu_memory_fraction: 0.9,
      image: `sha256:${"b".repeat(64)}`,
    });
    expect(limits.no_progress_s).toBeGreaterThanOrEqual(1800);
  } finally {
    await t.close();
  }
});
