/** The two ways to check a plugin for rented machines: offline against a fake vendor, and live with a maximum cost. */
import type { CaseResult } from "../../contract/conformance.ts";
import { casesFor, isLive, runCase } from "../../contract/conformance.ts";
import type { ConformanceCase } from "../../contract/conformance-case.ts";
import type { Provider, ProviderPlugin } from "../../contract/provider.ts";
import { AppError } from "../../errors.ts";
import { conformanceSetup } from "./conformance-run.ts";

/** Hours that a machine of a live case is paid for: minutes of waiting, and what vendors charge at least. */
const HOURS_PER_MACHINE = 0.25;
/** Rounds of the clean-up at the end of a live check, each some seconds apart. */
const CLEANUP_ROUNDS = 60;

/** Refuses requests that would leave this machine. */
export const loopbackOnly: typeof fetch = (async (input: string | URL | Request, init?: RequestInit) => {
  const url = new URL(input instanceof Request ? input.url : String(input));
  const { hostname } = url;
  if (!/^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname))
    throw new AppError(
      "invalid",
      "check_is_offline",
      `The plugin asked ${url.origin}, and the check is offline. Pass the address of a fake, or use --live.`,
    );
  return fetch(input, init);
}) as typeof fetch;

/** Settings for a check against a fake: its address and key, and the manifest's defaults. */
export function fakeSettings(
  plugin: ProviderPlugin,
  fake: { url: string; key: string },
  given: Record<string, unknown>,
): Record<string, unknown> {
  if (!plugin.config.some(({ name }) => name === "api_url"))
    throw new AppError(
      "invalid",
      "no_api_url",
      "The plugin has no setting api_url, so it cannot be checked against a fake. Add one, or use --live.",
    );
  const secrets = plugin.config.filter(({ type }) => type === "secret").map(({ name }) => [name, fake.key]);
  return { ...given, ...Object.fromEntries(secrets), api_url: fake.url };
}

/** What a live check may cost, and what it cost. */
interface LiveReport {
  estimateUsd: number;
  spentUsd: number;
  /** Resources that could not be removed, as `kind key`. */
  left: string[];
}

/**
 * Runs the live cases at the vendor of `config`. It stops when `signal` is aborted or the next case could exceed the
 * maximum, and removes everything at the end.
 * @throws AppError `too_expensive` before anything is rented
 */
export async function checkLive(
  plugin: ProviderPlugin,
  config: Record<string, unknown>,
  dataDir: string,
  options: { maxUsd: number; gpus?: number; signal: AbortSignal; say: (result: CaseResult) => void },
): Promise<LiveReport> {
  const { make, tools } = conformanceSetup(plugin, config, dataDir, { gpus: options.gpus, live: true });
  const cases = casesFor(plugin).filter(isLive);
  const [offer] = await make().offers(tools.need);
  if (!offer) throw new AppError("invalid", "no_offer", "The vendor offers no machine for the check; see --gpus.");
  tools.offer = offer;
  const price = offer.pricePerHour;
  const machines = cases.reduce((sum, one) => sum + (one.rents ?? 0), 0);
  const estimateUsd = machines * price * HOURS_PER_MACHINE;
  if (estimateUsd > options.maxUsd)
    throw new AppError(
      "invalid",
      "too_expensive",
      `The check rents ${machines} machines at ${price} USD per hour, about ${estimateUsd.toFixed(2)} USD. --max-cost is ${options.maxUsd}.`,
    );
  let spentUsd = 0;
  let left: string[] = [];
  const stopped = new Promise<null>((resolve) => options.signal.addEventListener("abort", () => resolve(null)));
  try {
    for (const one of cases) {
      const next = (one.rents ?? 0) * price * HOURS_PER_MACHINE;
      if (options.signal.aborted || spentUsd + next > options.maxUsd) break;
      const began = Date.now();
      const result = await Promise.race([runCase(one, make, tools), stopped]);
      spentUsd += costOf(one, Date.now() - began, price);
      if (!result) break;
      options.say(result);
    }
  } finally {
    left = await removeAll(make(), tools.installation);
  }
  return { estimateUsd, spentUsd, left };
}

const costOf = (one: ConformanceCase, ms: number, price: number) =>
  (one.rents ?? 0) > 0 ? (price * ms) / 3_600_000 : 0;

/** Ends everything with the installation's label. @returns what is still there */
async function removeAll(provider: Provider, installation: string): Promise<string[]> {
  let left: string[] = [];
  for (let round = 0; round < CLEANUP_ROUNDS; round++) {
    let againS = 1;
    left = [];
    try {
      for (const { handle, resource = "machine" } of await provider.listOwned(installation)) {
        const result = await provider.terminate(handle, { graceS: 0 });
        if (result.gone) continue;
        left.push(`${resource} ${handle.key}`);
        againS = Math.max(againS, result.againAfterS);
      }
      if (left.length === 0) return [];
    } catch (error) {
      left = [`unknown: ${error instanceof Error ? error.message : String(error)}`];
    }
    await Bun.sleep(Math.min(againS, 10) * 1000);
  }
  return left;
}
