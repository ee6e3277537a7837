/** The Lambda provider, put together from its parts. */
import type {
  AccountCheck,
  AccountReport,
  Provider,
  ProviderFailure,
  ProviderHost,
} from "../../src/contract/provider.ts";
import { createFleet } from "../shared/fleet.ts";
import { createLimiter } from "../shared/limiter.ts";
import { type Api, createApi, GAPS } from "./api.ts";
import { createInstances } from "./instances.ts";
import { createCatalog } from "./offers.ts";
import { readSettings } from "./settings.ts";
import { createSshKeys } from "./ssh-key.ts";

async function inspectAccount(api: Api): Promise<AccountReport> {
  const checks: AccountCheck[] = [];
  let regions: string[] = [];
  for (const [name, path, passed] of [
    ["Read instances", "/instances", "The key is valid and reads instances."],
    ["Read SSH keys", "/ssh-keys", "The key reads SSH keys."],
    ["Read regions", "/regions", "The key reads regions."],
  ] as const) {
    try {
      const found = await api.call<{ name: string }[]>("GET", path);
      if (path === "/regions") regions = found.map((one) => one.name);
      checks.push({ name, outcome: "passed", message: passed });
    } catch (error) {
      const { providerErrorKind: kind, message } = error as ProviderFailure;
      checks.push({ name, outcome: kind === "auth" || kind === "quota" ? "failed" : "unknown", message });
    }
  }
  checks.push({
    name: "Launch instances",
    outcome: "unknown",
    message:
      "Lambda's keys have full access; it has no way to try a launch, and does not say the quota of the account.",
  });
  return { checks, balanceUsd: null, quotas: [], regions };
}

export function createLambdaProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const { settings, problems } = readSettings(config);
  const api = createApi(host, settings, createLimiter(host, GAPS));
  const catalog = createCatalog(host, settings, api);
  const keys = createSshKeys(host, settings, api);
  const fleet = createFleet(host, createInstances(host, settings, api, catalog, keys));
  return {
    ...fleet,
    async validate() {
      return problems.length > 0 ? { ok: false, problems } : { ok: true };
    },
    offers: (need) => catalog.offers(need),
    inspect: () => inspectAccount(api),
    terminate: async (handle) => ((await keys.remove(handle)) ? { gone: true } : fleet.terminate(handle)),
    listOwned: async (installation) => [...(await fleet.listOwned(installation)), ...(await keys.owned(installation))],
  };
}
