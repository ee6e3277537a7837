/**
 * Golden files: the request to the container engine for one launch of each kind. `UPDATE_GOLDEN=1 bun test test/golden`
 * rewrites them.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { containerFor, type Order } from "../../plugins/docker/container.ts";
import { choose, gpusOf, probeContainer } from "../../plugins/docker/gpus.ts";
import plugin from "../../plugins/docker/index.ts";
import { readSettings } from "../../plugins/docker/settings.ts";

const { settings } = readSettings(Object.fromEntries(plugin.config.map((field) => [field.name, field.default])));
const ROOT = "/var/lib/finetune-lab";
const need = {
  gpus: 0,
  gpu_memory_mb: 0,
  cpus: 1,
  memory_mb: 2000,
  disk_mb: 900,
  max_price_per_hour: null,
  provider: null,
};
const order: Order = {
  installation: "inst00000001",
  settings,
  spec: { kind: "train", need, image: null, argv: null, env: {} },
  context: {
    key: "att-0001",
    labels: { job: "job_1", attempt: "att_0001", org: "org_1", kind: "train" },
    deadline: 0,
    maxPricePerHour: null,
    callHome: { url: `unix:${ROOT}/run/trainers/trainer.sock`, token: "fta-golden-token-0001", fingerprint: null },
  },
  image: `sha256:${"ab".repeat(32)}`,
  machine: { cpus: 16, memoryMb: 64_000 },
  gpus: [],
  local: { socketDir: `${ROOT}/run/trainers`, inputs: [`${ROOT}/models/smollm2-135m-instruct`], scratch: null },
};
const CARD = (n: number) => `GPU-${String(n).repeat(8)}-1111-2222-3333-444444444444`;

const CASES: Record<string, unknown> = {
  "train-cpu": containerFor(order),
  "train-one-gpu": containerFor({ ...order, gpus: [CARD(1)] }),
  "train-four-gpus": containerFor({ ...order, gpus: [1, 2, 3, 4].map(CARD) }),
  "train-mig-slice": containerFor({ ...order, gpus: ["MIG-5c2f1d0e-8a3b-5c6d-9e7f-0123456789ab"] }),
  "train-scratch-on-disk": containerFor({ ...order, settings: { ...settings, scratchOnDisk: true } }),
  serve: containerFor({
    ...order,
    spec: { ...order.spec, kind: "serve" },
    local: {
      ...order.local,
      inputs: [],
      socketDir: `${ROOT}/run/trainers`,
      scratch: `${ROOT}/plugins/.data-docker/att-0001/scratch`,
    },
  }),
  "train-on-another-machine": containerFor({
    ...order,
    local: null,
    context: { ...order.context, callHome: { ...order.context.callHome, url: "https://lab.example.com" } },
  }),
  probe: { ...probeContainer("inst00000001", settings), name: "ftl-inst00000001-probe-00000000" },
};

describe("what is sent to the engine:", () => {
  for (const [name, sent] of Object.entries(CASES))
    test(name, () => {
      const path = join(import.meta.dir, "docker", `${name}.json`);
      if (process.env.UPDATE_GOLDEN === "1") writeFileSync(path, `${JSON.stringify(sent, null, 2)}\n`);
      expect(existsSync(path), `${path} is missing; UPDATE_GOLDEN=1 writes it`).toBe(true);
      expect(JSON.parse(JSON.stringify(sent))).toEqual(JSON.parse(readFileSync(path, "utf8")));
    });
});

describe("which cards a job gets", () => {
  const card = (uuid: string, name: string, mb: number, mig = "Disabled") =>
    `<gpu id="00000000:01:00.0"><product_name>${name}</product_name><uuid>${uuid}</uuid><mig_mode><current_mig>${mig}</current_mig></mig_mode><fb_memory_usage><total>${mb} MiB</total></fb_memory_usage></gpu>`;
  const [small, large, twin, divided] = [CARD(1), CARD(2), CARD(3), CARD(4)] as [string, string, string, string];
  const slice = "MIG-5c2f1d0e-8a3b-5c6d-9e7f-0123456789ab";
  const gpus = gpusOf({
    xml:
      card(small, "NVIDIA L4", 23_034) +
      card(large, "NVIDIA H100", 81_559) +
      card(twin, "NVIDIA H100", 81_559) +
      card(divided, "NVIDIA A100", 81_920, "Enabled"),
    list: `GPU 0: NVIDIA L4 (UUID: ${small})\nGPU 3: NVIDIA A100 (UUID: ${divided})\n  MIG 1g.10gb     Device  0: (UUID: ${slice})\n`,
  });
  test.each([
    [1, 0, [slice]],
    [1, 20_000, [small]],
    [1, 40_000, [large]],
    [2, 0, [large, twin]],
    [3, 0, null],
    [1, 200_000, null],
    [0, 0, []],
  ] as const)("%d GPUs with %d MB each", (wanted, memory, expected) => {
    const chosen = choose(gpus, { gpus: wanted, gpu_memory_mb: memory });
    expect(chosen?.map(({ uuid }) => uuid) ?? null).toEqual(expected === null ? null : [...expected]);
  });
  test("a GPU with a failed driver is not used", () => {
    expect(gpusOf({ failure: "Failed to initialize NVML: Unknown Error" })).toEqual([]);
    expect(gpusOf(null)).toEqual([]);
  });
});
