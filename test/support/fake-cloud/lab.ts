/** A provider in front of a fake cloud, and the part of the host that launches, ends and sweeps, for tests. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHost, isProviderFailure } from "../../../src/compute/providers/host.ts";
import type {
  Handle,
  LaunchContext,
  LaunchSpec,
  Provider,
  ProviderFailure,
  ProviderPlugin,
} from "../../../src/contract/provider.ts";
import type { Need } from "../../../src/contract/spec.ts";
import { createInTurn } from "../../../src/lib/in-turn.ts";
import type { FakeCloud } from "./core.ts";
import { fetchOf } from "./server.ts";

export const NEED: Need = {
  gpus: 1,
  gpu_memory_mb: 20_000,
  cpus: 2,
  memory_mb: 8000,
  disk_mb: 10_000,
  max_price_per_hour: null,
  provider: null,
};

const SPEC: LaunchSpec = { kind: "train", need: NEED, image: null, argv: null, env: {} };

export interface CloudLab {
  cloud: FakeCloud;
  installation: string;
  /** A provider as a restarted server creates it: with nothing in memory. */
  restart(): Provider;
  /** The current provider. */
  provider: Provider;
  logs: { level: string; message: string }[];
}

/**
 * A provider of `plugin` on the clock of `cloud`.
 * @param url where it sends its requests; by default straight into the fake
 */
export function cloudLab(
  plugin: ProviderPlugin,
  cloud: FakeCloud,
  config: Record<string, unknown>,
  url: string | null = null,
): CloudLab {
  const installation = "inst0123abcd";
  const logs: CloudLab["logs"] = [];
  const parts = {
    installation,
    clock: cloud.clock,
    log: (level: string, message: string) => void logs.push({ level, message }),
    signal: new AbortController().signal,
    inTurn: createInTurn(),
    trainer: async () => ({ python: "python3", dir: tmpdir() }),
  };
  const host = createHost(plugin.id, join(tmpdir(), "ftl-cloud-lab"), parts);
  const defaults = Object.fromEntries(plugin.config.map((field) => [field.name, field.default]));
  const settings = { ...defaults, api_url: url ?? "http://127.0.0.1:9", api_key: cloud.account.apiKey, ...config };
  const restart = () => plugin.create(url ? host : { ...host, fetch: fetchOf(cloud) }, settings);
  return { cloud, installation, logs, restart, provider: restart() };
}

/** What a launch is given, with a deadline of an hour. */
export function launchContext(cloud: FakeCloud, key: string, maxPricePerHour: number | null = null): LaunchContext {
  return {
    key,
    labels: { job: `job-of-${key}` },
    deadline: cloud.clock.now() + 3_600_000,
    maxPricePerHour,
    callHome: { url: "https://lab.example.com", token: `ftb-${key}`, fingerprint: null },
  };
}

interface Outcome {
  handle: Handle | null;
  failures: ProviderFailure[];
}

/**
 * Launches as the host does: the same key again after `transient` and `rate_limited`, the next offer after
 * `no_capacity`, nothing more after any other failure.
 */
export async function launchAs(
  lab: CloudLab,
  key: string,
  { tries = 6, maxPricePerHour = null }: { tries?: number; maxPricePerHour?: number | null } = {},
): Promise<Outcome> {
  const failures: ProviderFailure[] = [];
  let next = 0;
  for (let i = 0; i < tries; i++) {
    try {
      const offers = (await lab.provider.offers({ ...NEED, max_price_per_hour: maxPricePerHour })).filter(
        (offer) => offer.available,
      );
      const offer = offers[next];
      if (!offer) break;
      const handle = await lab.provider.launch(SPEC, offer, launchContext(lab.cloud, key, maxPricePerHour));
      return { handle, failures };
    } catch (error) {
      if (!isProviderFailure(error)) throw error;
      failures.push(error);
      const { providerErrorKind: kind } = error;
      if (kind === "no_capacity") next++;
      else if (kind !== "transient" && kind !== "rate_limited") break;
      await lab.cloud.clock.sleep((error.retryAfterS ?? 3) * 1000);
    }
  }
  return { handle: null, failures };
}

/** Terminates as the host does, until it is gone or `rounds` are over. Returns the rounds it took; null = not gone. */
export async function endAs(lab: CloudLab, handle: Handle, rounds = 20): Promise<number | null> {
  for (let round = 1; round <= rounds; round++) {
    let wait = 10;
    try {
      const result = await lab.provider.terminate(handle);
      if (result.gone) return round;
      wait = result.againAfterS;
    } catch (error) {
      if (!isProviderFailure(error)) throw error;
      wait = error.retryAfterS ?? 10;
    }
    await lab.cloud.clock.sleep(wait * 1000);
  }
  return null;
}

/** Ends every machine whose key is not in `keep`, as the orphan sweep does. Returns the keys it found. */
export async function sweepAs(lab: CloudLab, keep: ReadonlySet<string> = new Set()): Promise<string[]> {
  const owned = await lab.provider.listOwned(lab.installation);
  const orphans = owned.filter(({ handle, shared }) => !shared && !keep.has(handle.key));
  for (const { handle } of orphans) await endAs(lab, { provider: handle.provider, key: handle.key });
  return orphans.map(({ handle }) => handle.key);
}
