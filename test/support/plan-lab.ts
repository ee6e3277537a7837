/** A lab whose only provider offers what a test puts on its shelf, for tests of plans. */
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { Offer, Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import type { Need, TrainSpec } from "../../src/contract/spec.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";
import { gpu, host } from "../../src/db/schema/hosts.ts";
import { attempt, job } from "../../src/db/schema/jobs.ts";
import { newId } from "../../src/lib/ids.ts";
import { createTestApp } from "./app.ts";
import { chatLines } from "./datasets.ts";
import { until } from "./live.ts";
import { TINY_MODEL } from "./tiny.ts";

export interface OfferView {
  gpu: string | null;
  provider: string;
  location: string;
  fits: boolean;
  out: string | null;
  memory_mb: number;
  needed_mb: number;
  basis: string;
  runs: number;
  seconds_range: [number, number];
  cost_range_usd: [number, number];
  preemptions_per_hour: number;
  total_usd: number | null;
  cost_usd: [number, number] | null;
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
  cost_usd: [number, number] | null;
  max_cost_usd: number | null;
  price_lists: string[];
  providers_without_answer: string[];
  suggestion: SuggestionView | null;
  warnings: string[];
  tokens: number | null;
  rows_cut: number;
  longest_row: number;
}

export const MACHINE: Offer = {
  id: "m",
  location: "cellar",
  gpus: 0,
  gpuName: null,
  gpuMemoryMb: 0,
  cpus: 8,
  memoryMb: 200_000,
  ...OWN_MACHINE,
  startsInS: 0,
  available: true,
  local: false,
};
/** A run with the same figures on machines with and without bfloat16. */
export const SHAPE = { batch_size: 8, max_length: 512, loss_on: "all", precision: "float32" };
/** Cached offers expire within this time. */
const LATER_MS = 40_000;

/** What the provider offers; `slow` providers answer too late. */
interface Shelf {
  offers: Offer[];
  slow: boolean;
}

/** The provider answers as the contract says: with offers that meet the need. */
function registryOf(shelf: Shelf): ComputeRegistry {
  const plugin: ProviderPlugin = {
    id: "shelf",
    title: "Shelf",
    contract: 2,
    kind: "machine",
    config: [],
    capabilities: {
      logs: false,
      gpus: true,
      survivesServer: true,
      local: false,
      priced: true,
      spot: false,
      vendorDeadline: false,
      multiNode: false,
    },
    create: () => provider,
  };
  const never = () => Promise.reject(new Error("nothing is launched here"));
  const provider: Provider = {
    validate: async () => ({ ok: true }),
    offers: async (need: Need) => {
      if (shelf.slow) await Bun.sleep(10_000);
      return shelf.offers.filter(
        (one) => one.memoryMb >= need.memory_mb && one.cpus >= need.cpus && one.gpus >= need.gpus,
      );
    },
    launch: never,
    describe: never,
    terminate: never,
    listOwned: async () => [],
  };
  return { get: (id) => (id === "shelf" ? { plugin, provider } : null), list: () => [{ plugin, provider }] };
}

/** Starts a lab with the tiny model, a file of 60 rows and an empty shelf. */
export async function startPlanLab() {
  const shelf: Shelf = { offers: [], slow: false };
  let later = 0;
  const monotonic = () => performance.now() + later;
  const clock = { now: () => Date.now(), monotonic, sleep: (ms: number) => Bun.sleep(ms) };
  const lab = await createTestApp({ ctx: { compute: registryOf(shelf), clock } });
  await lab.json("POST", "/v1/base_models/import", {
    body: { source: "local", directory: TINY_MODEL, id: "tiny", license: "apache-2.0" },
  });
  await until("the base", async () => (await lab.json("GET", "/v1/base_models/tiny")).status === "ready");
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([`${chatLines(60).join("\n")}\n`], "rows.jsonl"));
  const fileId = (await lab.json<{ id: string }>("POST", "/v1/files", { raw: form })).id;
  await until("the file", async () => (await lab.json("GET", `/v1/files/${fileId}`)).status !== "uploaded");

  const plan = (extra: Record<string, unknown> = {}) =>
    lab.json<PlanView>("POST", "/v1/jobs/plan", { body: { model: "tiny", training_file: fileId, ...extra } });

  /** Replaces the offers; plans from now on do not use cached ones. */
  const offer = (offers: Offer[]) => {
    later += LATER_MS;
    shelf.offers = offers;
  };

  /** Stores an ended run, as trainer and pipeline leave it. */
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
        error: outOfMemory
          ? { code: "out_of_memory", message: "short", advice: null, param: null, detail: null }
          : null,
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

  /** Stores a host with one GPU, as the inventory reports it. */
  async function addGpu(memoryMb: number): Promise<void> {
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

  return { lab, fileId, shelf, plan, offer, ended, addGpu, forget };
}
export type PlanLab = Awaited<ReturnType<typeof startPlanLab>>;
