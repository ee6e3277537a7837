/** Runs the conformance cases against one plugin, for `bun run conformance` and `finetune-lab plugin check`. */
import { CASES, type CaseResult, runCase } from "../../contract/conformance.ts";
import type { ConformanceTools, ProviderFactory } from "../../contract/conformance-case.ts";
import type { ProviderPlugin } from "../../contract/provider.ts";
import type { Need } from "../../contract/spec.ts";
import { systemClock } from "../../lib/clock.ts";
import { randomChars } from "../../lib/ids.ts";
import { createInTurn } from "../../lib/in-turn.ts";
import { createHost, providerError } from "./host.ts";

/** The smallest need: one GPU for providers that rent machines, none for providers of local machines. */
function needOf(plugin: ProviderPlugin, gpus?: number): Need {
  const wanted = gpus ?? (plugin.capabilities.gpus && plugin.kind === "machine" ? 1 : 0);
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

/**
 * A factory and tools for `plugin`. All providers of the factory share the state in `dataDir`. Local providers need
 * `python3` on PATH.
 * @param gpus number of GPUs to request
 */
export function conformanceSetup(
  plugin: ProviderPlugin,
  config: Record<string, unknown>,
  dataDir: string,
  gpus?: number,
): { make: ProviderFactory; tools: ConformanceTools } {
  const installation = `conformance-${randomChars(8)}`;
  const parts = {
    installation,
    clock: systemClock,
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
  return {
    make: (given) => plugin.create(createHost(plugin.id, dataDir, parts), { ...defaults, ...config, ...given }),
    tools: {
      plugin,
      installation,
      need: needOf(plugin, gpus),
      key: () => `case-${randomChars(12)}`,
      python: (source) => ["python3", "-c", source],
      canary: setCanary(),
      sleep: (ms) => Bun.sleep(ms),
      patienceMs: plugin.kind === "process" ? 15_000 : plugin.kind === "container" ? 120_000 : 900_000,
      exitCodes: !plugin.capabilities.priced,
      cleanup: [],
    },
  };
}

/** A secret in the environment of this process, which started work must not see. */
function setCanary(): { name: string; value: string } {
  const name = "FTL_CONFORMANCE_CANARY";
  Bun.env[name] ??= `canary-${randomChars(24)}`;
  return { name, value: Bun.env[name] };
}

/** Runs every case in order. */
export async function* conform(
  plugin: ProviderPlugin,
  config: Record<string, unknown>,
  dataDir: string,
  gpus?: number,
): AsyncGenerator<CaseResult> {
  const { make, tools } = conformanceSetup(plugin, config, dataDir, gpus);
  for (const one of CASES) yield await runCase(one, make, tools);
}
