/** Runs the conformance cases against one plugin, for `bun run conformance` and `finetune-lab plugin check`. */
import { type CaseResult, casesFor, isLive, runCase } from "../../contract/conformance.ts";
import type { ConformanceTools, ProviderFactory } from "../../contract/conformance-case.ts";
import { createWire } from "../../contract/conformance-wire.ts";
import type { ProviderPlugin } from "../../contract/provider.ts";
import type { Need } from "../../contract/spec.ts";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { randomChars } from "../../lib/ids.ts";
import { createInTurn } from "../../lib/in-turn.ts";
import { createHost, providerError } from "./host.ts";

/** The smallest need: one GPU for providers that rent machines, none for providers of local machines. */
function needOf(plugin: ProviderPlugin, gpus?: number): Need {
  const wanted = gpus ?? (plugin.capabilities.gpus && plugin.capabilities.priced ? 1 : 0);
  return {
    gpus: wanted,
    gpu_memory_mb: wanted > 0 ? 8000 : 0,
    cpus: 1,
    memory_mb: 128,
    disk_mb: 100,
    max_price_per_hour: null,
    provider: plugin.id,
  };
}

/** A clock whose sleeps take a moment: waiting for a vendor's rate limit needs no real time. */
function hastyClock(): Clock {
  let ahead = 0;
  return {
    now: () => systemClock.now() + ahead,
    monotonic: () => systemClock.monotonic() + ahead,
    async sleep(ms, signal) {
      ahead += ms;
      await systemClock.sleep(Math.min(ms, 5), signal);
    },
  };
}

interface SetupOptions {
  /** GPUs to request. */
  gpus?: number;
  /** Requests of the plugin go through this. */
  send?: typeof fetch;
  /** Machines are rented at a real vendor: waiting takes as long as it takes. */
  live?: boolean;
}

/**
 * A factory and tools for `plugin`. All providers of the factory share the state in `dataDir`. Local providers need
 * `python3` on PATH.
 */
export function conformanceSetup(
  plugin: ProviderPlugin,
  config: Record<string, unknown>,
  dataDir: string,
  { gpus, send = fetch, live = false }: SetupOptions = {},
): { make: ProviderFactory; tools: ConformanceTools } {
  const installation = `conformance-${randomChars(8)}`;
  const clock = plugin.capabilities.priced && !live ? hastyClock() : systemClock;
  const wire = createWire(send);
  const parts = {
    installation,
    clock,
    log: () => {},
    signal: new AbortController().signal,
    // Several providers of the factory act as one server.
    inTurn: createInTurn(),
    trainer: async () => {
      const python = Bun.which("python3");
      if (!python) throw providerError("fatal", "python3 is not on PATH; install Python 3.10 or newer.");
      return { python, dir: dataDir };
    },
  };
  const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
  const all: Record<string, unknown> = { ...defaults, ...config };
  const secrets = plugin.config.flatMap(({ name, type }) =>
    type === "secret" && all[name] ? [String(all[name])] : [],
  );
  return {
    make: (given) => {
      const host = { ...createHost(plugin.id, dataDir, parts), fetch: wire.fetch };
      return plugin.create(host, { ...all, ...given });
    },
    tools: {
      plugin,
      installation,
      need: needOf(plugin, gpus),
      key: () => `case-${randomChars(12)}`,
      python: (source) => ["python3", "-c", source],
      canary: setCanary(),
      sleep: (ms) => (clock === systemClock ? Bun.sleep(ms) : clock.sleep(ms)),
      patienceMs: patienceOf(plugin, live),
      exitCodes: !plugin.capabilities.priced,
      cleanup: [],
      wire,
      secrets,
      offer: null,
    },
  };
}

/** Seconds for processes and fakes, minutes for containers and machines of a vendor. */
function patienceOf({ kind, capabilities }: ProviderPlugin, live: boolean): number {
  if (kind === "process" || (capabilities.priced && !live)) return 15_000;
  return kind === "container" && !capabilities.priced ? 120_000 : 900_000;
}

/** A secret in the environment of this process, which started work must not see. */
function setCanary(): { name: string; value: string } {
  const name = "FTL_CONFORMANCE_CANARY";
  Bun.env[name] ??= `canary-${randomChars(24)}`;
  return { name, value: Bun.env[name] };
}

/** Runs every case in order; `live` only those for a real vendor. */
export async function* conform(
  plugin: ProviderPlugin,
  config: Record<string, unknown>,
  dataDir: string,
  options: SetupOptions = {},
): AsyncGenerator<CaseResult> {
  const { make, tools } = conformanceSetup(plugin, config, dataDir, options);
  for (const one of casesFor(plugin)) if (!options.live || isLive(one)) yield await runCase(one, make, tools);
}
