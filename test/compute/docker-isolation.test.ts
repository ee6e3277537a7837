/**
 * A property test: for any input of a user, the container is isolated, has no access outside the data directory, and
 * runs no shell.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { containerFor, deviceRequests, LABEL, type Order } from "../../plugins/docker/container.ts";
import plugin from "../../plugins/docker/index.ts";
import { localFiles } from "../../plugins/docker/local-files.ts";
import { readSettings } from "../../plugins/docker/settings.ts";
import { createHost } from "../../src/compute/providers/host.ts";
import type { ProviderHost } from "../../src/contract/provider.ts";
import { launchSpecOf } from "../../src/training/attempts/launch.ts";
import { getJob } from "../../src/training/jobs/store.ts";
import { createTestApp, type TestApp } from "../support/app.ts";
import { chatLines } from "../support/datasets.ts";
import { brokenWalls } from "../support/docker-walls.ts";
import { until } from "../support/live.ts";
import { readyBase } from "../support/models.ts";

const RUNS = 200;
const DEFAULTS = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
const { settings } = readSettings(DEFAULTS);
const IMAGE = `sha256:${"a".repeat(64)}`;

let app: TestApp;
let host: ProviderHost;
let root: string;
let fileId: string;
beforeAll(async () => {
  app = await createTestApp();
  await readyBase(app.ctx);
  root = realpathSync(app.dir);
  mkdirSync(join(root, "models/tiny"), { recursive: true });
  mkdirSync(join(root, "run/trainers"), { recursive: true });
  const parts = { ...app.ctx, root, trainer: () => Promise.reject(new Error("none")) };
  host = createHost("docker", join(root, "plugins/.data-docker"), parts);
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(20).join("\n")}\n`], "rows.jsonl"));
  fileId = (await app.json<{ id: string }>("POST", "/v1/files", { raw: form })).id;
  await until(
    "the file",
    async () => (await app.json("GET", `/v1/files/${fileId}`)).status === "processed",
    20_000,
    20,
  );
});
afterAll(() => app.close());

/** A reproducible source of chance: a failure names its number. */
function chance(seed: number) {
  let state = seed;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  return { next, pick };
}

const NASTY = [
  "--privileged",
  "; rm -rf /",
  "$(id)",
  "`id`",
  "../../../etc",
  "/var/run/docker.sock",
  "unix:///var/run/docker.sock",
  "host",
  "container:other",
  "LD_PRELOAD=/tmp/evil.so",
  "a\nPRIVILEGED=1",
  "sha256:0000",
  "alpine@sha256:1",
  "\u202etxt.exe",
  "ft.token",
  "x".repeat(64),
  "0",
  "-1",
];
const NUMBERS = [0, -1, 1, 2, 8, 1e9, 1e15, 0.5, Number.MAX_SAFE_INTEGER];
const FIELDS = [
  "name",
  "suffix",
  "seed",
  "n_epochs",
  "batch_size",
  "learning_rate",
  "max_steps",
  "max_length",
  "lora_r",
  "lora_alpha",
  "lora_dropout",
  "lora_layers",
  "target_modules",
  "loss_on",
  "scheduler",
  "warmup_ratio",
  "weight_decay",
  "max_grad_norm",
  "precision",
  "gradient_checkpointing",
  "eval_every",
  "save_every",
  "evaluate_after",
  "max_price_per_hour",
  "priority",
  "max_attempts",
  "metadata",
  "validation_file",
] as const;
/** Not in the API: must be refused, never carried on. */
const FOREIGN = [
  "image",
  "env",
  "argv",
  "command",
  "mounts",
  "inputs",
  "privileged",
  "network",
  "gpus",
  "need",
  "user",
];

function request({ next, pick }: ReturnType<typeof chance>): Record<string, unknown> {
  const value = (): unknown =>
    pick<() => unknown>([
      () => pick(NASTY),
      () => pick(NUMBERS),
      () => [pick(NASTY)],
      () => ({ [pick(NASTY)]: pick(NASTY) }),
      () => pick([true, false, null, "auto", "linear", "float32", "all"]),
    ])();
  const body: Record<string, unknown> = { model: "tiny", training_file: fileId };
  if (next() < 0.7) body.name = pick(NASTY);
  if (next() < 0.7) body.metadata = { [pick(["key", "ft.key"])]: pick(NASTY) };
  for (let i = Math.floor(next() * 3); i > 0; i--) body[pick(FIELDS)] = value();
  if (next() < 0.1) body[pick(FOREIGN)] = value();
  if (next() < 0.05) body.model = pick(NASTY);
  if (next() < 0.05) body.training_file = pick(NASTY);
  return body;
}

async function orderOf(spec: Order["spec"], key: string, labels: Record<string, string>): Promise<Order> {
  const callHome = { url: app.ctx.trainerHome, token: `fta-${key}-0123456789`, fingerprint: null };
  return {
    installation: app.ctx.installation,
    settings,
    spec,
    context: { key, labels, deadline: Date.now() + 1000, maxPricePerHour: null, callHome },
    image: spec.image ?? IMAGE,
    machine: { cpus: 8, memoryMb: 64_000 },
    gpus: [],
    local: await localFiles(host, spec, key, callHome.url),
  };
}

test(`${RUNS} random requests: what is taken gives a container with every wall, what is not is refused`, async () => {
  let taken = 0;
  for (let seed = 1; seed <= RUNS; seed++) {
    const body = request(chance(seed));
    const answer = await app.request("POST", "/v1/jobs", { body });
    if (!answer.ok) {
      expect(answer.status, `seed ${seed}: ${JSON.stringify(body)}`).toBeLessThan(500);
      continue;
    }
    expect(FOREIGN.filter((name) => name in body)).toEqual([]);
    taken++;
    const { id } = (await answer.json()) as { id: string };
    const row = await getJob(app.ctx, app.actor("admin"), id);
    const labels = {
      job: row.id,
      attempt: "att_1",
      org: row.org,
      kind: row.kind,
      [NASTY[seed % NASTY.length] ?? ""]: "x",
    };
    const container = containerFor(await orderOf(launchSpecOf(app.ctx, row), `att-${seed}`, labels));
    expect(brokenWalls(container, root), `seed ${seed}: ${JSON.stringify(body)}`).toEqual([]);
    // Labels a user has a say in cannot pass for ours.
    expect(container.Labels?.[LABEL.key]).toBe(`att-${seed}`);
    expect(container.Labels?.[LABEL.installation]).toBe(app.ctx.installation);
  }
  // The other half of the property would mean little if hardly anything were taken.
  expect(taken).toBeGreaterThan(RUNS / 5);
}, 120_000);

test("endpoints and evaluations are isolated too: adapters are mounted one by one, and only the socket's directory is writable", async () => {
  const ids = ["artf_1", "artf_2"];
  for (const id of ids) mkdirSync(join(root, "artifacts", id), { recursive: true });
  for (const kind of ["serve", "evaluate"] as const) {
    const need = {
      gpus: 0,
      gpu_memory_mb: 0,
      cpus: 1,
      memory_mb: 500,
      disk_mb: 100,
      max_price_per_hour: null,
      provider: null,
    };
    const inputs = [join(root, "models/tiny"), ...ids.map((id) => join(root, "artifacts", id))];
    const spec = { kind, need, image: IMAGE, argv: null, env: {}, inputs };
    const container = containerFor(await orderOf(spec, `att-${kind}`, {}));
    expect(brokenWalls(container, root)).toEqual([]);
    const writable = (container.HostConfig?.Mounts ?? []).filter((mount) => !mount.ReadOnly);
    expect(writable.length).toBe(kind === "serve" ? 1 : 0);
  }
});

test("the isolation check detects each missing setting", async () => {
  const need = {
    gpus: 0,
    gpu_memory_mb: 0,
    cpus: 1,
    memory_mb: 500,
    disk_mb: 100,
    max_price_per_hour: null,
    provider: null,
  };
  const good = containerFor(await orderOf({ kind: "train", need, image: null, argv: null, env: {} }, "att-x", {}));
  const bad = [
    { ...good, User: "0:0" },
    { ...good, Entrypoint: ["/bin/sh", "-c", "id"] },
    ...[
      { Privileged: true },
      { NetworkMode: "host" },
      { PidMode: "host" },
      { CapDrop: [] },
      { ReadonlyRootfs: false },
      { Memory: 0 },
      { Binds: ["/:/host"] },
      { SecurityOpt: ["seccomp=unconfined"] },
      { Mounts: [{ Type: "bind" as const, Source: "/etc", Target: "/x", ReadOnly: true }] },
      { Mounts: [{ Type: "bind" as const, Source: join(root, "run/admin.sock"), Target: "/x", ReadOnly: true }] },
    ].map((change) => ({ ...good, HostConfig: { ...good.HostConfig, ...change } })),
  ];
  expect(brokenWalls(good, root)).toEqual([]);
  for (const one of bad) expect(brokenWalls(one, root).length).toBeGreaterThan(0);
});

test("GPUs are requested by UUID only", () => {
  expect(deviceRequests([])).toEqual([]);
  expect(deviceRequests(["GPU-1", "GPU-2"])).toEqual([
    { Driver: "nvidia", DeviceIDs: ["GPU-1", "GPU-2"], Capabilities: [["gpu"]] },
  ]);
});
