/** The registry of providers from the loaded plugins, and the facts about this machine. */
import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { and, eq, inArray, isNull, sql } from "drizzle-orm";
import { assetsHash } from "../../assets.ts";
import type { Provider, ProviderPlugin } from "../../contract/provider.ts";
import type { TrainerRef } from "../../contract/spec.ts";
import { type ComputeRegistry, type Ctx, perContext } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { createInTurn, type InTurn } from "../../lib/in-turn.ts";
import { readyTrainerEnvironment } from "../environment/install.ts";
import { type PinnedImage, pinnedImages, type Role } from "../images/service.ts";
import { createHost } from "./host.ts";
import type { ProviderView } from "./model.ts";
import { loadPlugins, type PluginProblem } from "./plugins.ts";
import type { StoredProvider } from "./stored.ts";
import { keepEnvironment } from "./trainer-environment.ts";

/** The registry with the plugin problems for the settings page. */
export interface Compute extends ComputeRegistry {
  /** Plugins that could not be loaded, each with the stage that failed. */
  problems(): PluginProblem[];
  /** Why the trainer environment of this machine could not be installed; null when nothing failed. */
  trainerProblem(): string | null;
  /** The settings of a loaded plugin, and whether it came with this program. */
  settings(id: string): { bundled: boolean; folder: string | null; config: Record<string, unknown> } | null;
  /** A provider of a bundled plugin with these settings, which nothing uses yet. Throws what the plugin throws. */
  prepare(plugin: ProviderPlugin, config: Record<string, unknown>): Provider;
  /**
   * Uses a prepared provider from now on, in place of the one with the same id, whose work it continues. Requests to
   * the earlier one end as they would have.
   */
  adopt(plugin: ProviderPlugin, provider: Provider, config: Record<string, unknown>): void;
  /** Takes a provider out of use. @returns puts it back */
  drop(id: string): () => void;
}

/** The parts of a context that `openCompute` needs. */
type ComputeTools = Pick<Ctx, "installation" | "config" | "files" | "clock" | "log" | "signal">;

/**
 * Loads every plugin and creates its provider. A plugin that fails is skipped and reported in `problems()`.
 * @param secrets secret settings that are stored encrypted, by name
 * @param stored settings of bundled providers that were made in the page, by id
 */
export async function openCompute(
  tools: ComputeTools,
  secrets: ReadonlyMap<string, string> = new Map(),
  stored: ReadonlyMap<string, StoredProvider> = new Map(),
): Promise<Compute> {
  const { providers, provider_settings, sources } = tools.config;
  const use = { providers, isListFixed: sources.providers !== undefined, provider_settings, secrets, stored };
  const { loaded, problems } = await loadPlugins(tools.files.path("plugins"), use);
  const keeper = keepEnvironment(tools.config, tools.files, tools.log, tools.signal);
  const entries = new Map<string, ReturnType<ComputeRegistry["list"]>[number]>();
  const settings = new Map(
    loaded.map(({ plugin, bundled, folder, config }) => [plugin.id, { bundled, folder, config }]),
  );
  const turns = new Map<string, InTurn>();
  const readyTrainer = async () => {
    const ready = await readyTrainerEnvironment(tools.config, tools.files);
    return ready && { python: ready.python, dir: ready.trainerDir };
  };
  const prepare: Compute["prepare"] = (plugin, config) => {
    const dataDir =
      plugin.id === "process" ? tools.files.path("process") : join(tools.files.path("plugins"), `.data-${plugin.id}`);
    // A provider and its successor take turns with each other.
    const inTurn = turns.get(plugin.id) ?? createInTurn();
    turns.set(plugin.id, inTurn);
    const parts = { ...tools, trainer: keeper.trainer, readyTrainer, root: tools.files.root, inTurn };
    return plugin.create(createHost(plugin.id, dataDir, parts), config);
  };
  for (const { plugin, config } of loaded) {
    const problem = (stage: PluginProblem["stage"], message: string, remedy: string) =>
      problems.push({ plugin: plugin.id, stage, message, remedy });
    try {
      const provider = prepare(plugin, config);
      const valid = await provider.validate();
      if (valid.ok) entries.set(plugin.id, { plugin, provider });
      else for (const found of valid.problems) problem("validate", `${found.field}: ${found.message}`, found.remedy);
    } catch (error) {
      problem("create", error instanceof Error ? error.message : String(error), "Report it to the plugin's author.");
    }
  }
  for (const found of problems) tools.log("warn", `plugin ${found.plugin} was not loaded`, { ...found });
  let failed = problems;
  return {
    get: (id) => entries.get(id) ?? null,
    list: () => [...entries.values()],
    problems: () => [...failed],
    trainerProblem: () => keeper.problem(),
    settings: (id) => settings.get(id) ?? null,
    prepare,
    adopt(plugin, provider, config) {
      settings.set(plugin.id, { bundled: true, folder: null, config });
      entries.set(plugin.id, { plugin, provider });
      failed = failed.filter((one) => one.plugin !== plugin.id);
    },
    drop(id) {
      const before = { entry: entries.get(id), failed };
      entries.delete(id);
      failed = failed.filter((one) => one.plugin !== id);
      return () => {
        if (before.entry) entries.set(id, before.entry);
        failed = before.failed;
      };
    },
  };
}

interface TrainerIdentity {
  version: string;
  environment: string;
}

/** The cached identity, because finding it starts Python. It stays once the environment is ready. */
const identityOf = perContext((): { known: { value: Promise<TrainerIdentity>; until: number } | null } => ({
  known: null,
}));
const IDENTITY_TTL_MS = 15_000;

/**
 * Identifies the trainer sources, packages and image in a frozen spec. `environment` is `none` until the trainer
 * environment is installed on this machine.
 */
export async function trainerIdentity(ctx: Ctx, role: Role = "trainer"): Promise<TrainerRef> {
  const containers = ctx.compute.list().some(({ plugin }) => plugin.kind === "container");
  const image = containers ? pinnedImages(ctx.files)[role]?.id : undefined;
  return { ...(await environmentIdentity(ctx)), ...(image ? { image } : {}) };
}

/** The pinned image for endpoints; null without a container provider or without a pinned image. */
export function inferenceImage(ctx: Ctx): PinnedImage | null {
  const containers = ctx.compute.list().some(({ plugin }) => plugin.kind === "container");
  return (containers && pinnedImages(ctx.files).inference) || null;
}

function environmentIdentity(ctx: Ctx): Promise<TrainerIdentity> {
  const identity = identityOf(ctx);
  const now = ctx.clock.monotonic();
  if (identity.known && now < identity.known.until) return identity.known.value;
  const entry = { value: findIdentity(ctx), until: now + IDENTITY_TTL_MS };
  identity.known = entry;
  entry.value.then(({ environment }) => {
    if (environment !== "none") entry.until = Number.POSITIVE_INFINITY;
  });
  return entry.value;
}

async function findIdentity(ctx: Ctx): Promise<TrainerIdentity> {
  const ready = await readyTrainerEnvironment(ctx.config, ctx.files).catch(() => null);
  return { version: ready?.version ?? assetsHash("trainer").slice(0, 16), environment: ready?.hash ?? "none" };
}

/** The number of training and endpoint slots of this machine in use. */
export async function slotsInUse(ctx: Ctx): Promise<{ train: number; serve: number }> {
  const local = ctx.compute
    .list()
    .filter(({ plugin }) => plugin.capabilities.local)
    .map(({ plugin }) => plugin.id);
  if (local.length === 0) return { train: 0, serve: 0 };
  const [row] = await ctx.db
    .select({
      all: sql<number>`count(*)`,
      serve: sql<number>`coalesce(sum(${job.kind} = 'serve'), 0)`,
    })
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(and(isNull(attempt.goneAt), inArray(attempt.provider, local)));
  return { train: (row?.all ?? 0) - (row?.serve ?? 0), serve: row?.serve ?? 0 };
}

/** Memory limit of this process in bytes: of its cgroup, or of the machine. */
export function memoryLimit(): number {
  try {
    const text = readFileSync("/sys/fs/cgroup/memory.max", "utf8").trim();
    if (/^\d+$/.test(text)) return Math.min(Number(text), totalmem());
  } catch {
    // Without cgroup v2, the memory of the machine is the limit.
  }
  return totalmem();
}

/** True when the CPU supports bfloat16 natively; otherwise bfloat16 is slower than float32. */
export const bf16Supported = perContext((): boolean => {
  try {
    return /^flags\s*:.*\b(amx_bf16|avx512_bf16)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"));
  } catch {
    return false;
  }
});

/** The loaded providers. */
export function listProviders(ctx: Ctx): ProviderView[] {
  return ctx.compute.list().map(({ plugin }) => ({
    object: "provider",
    id: plugin.id,
    title: plugin.title,
    kind: plugin.kind,
    capabilities: plugin.capabilities,
  }));
}

/** True for the registry of {@link openCompute}; tests may use another one. */
export const isCompute = (compute: ComputeRegistry): compute is Compute => "problems" in compute;

/** Plugins that could not be loaded, each with the stage that failed and a remedy. */
export function pluginProblems(ctx: Ctx): PluginProblem[] {
  return isCompute(ctx.compute) ? ctx.compute.problems() : [];
}

/** Why the trainer environment of this machine could not be installed; null when nothing failed. */
export function trainerProblem(ctx: Ctx): string | null {
  return isCompute(ctx.compute) ? ctx.compute.trainerProblem() : null;
}
