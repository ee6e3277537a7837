/** The RunPod provider, put together from its parts. */
import type { Provider, ProviderHost } from "../../src/contract/provider.ts";
import { createFleet } from "../shared/fleet.ts";
import { createLimiter } from "../shared/limiter.ts";
import { createApi } from "./api.ts";
import { inspectAccount } from "./inspect.ts";
import { createCatalog } from "./offers.ts";
import { createPods } from "./pods.ts";
import { readSettings } from "./settings.ts";

/** RunPod's example policy is 60 requests a minute; its headers say when that is used up. */
const GAP_MS = 100;

export function createRunpodProvider(host: ProviderHost, config: Record<string, unknown>): Provider {
  const { settings, problems } = readSettings(config);
  const api = createApi(host, settings, createLimiter(host, { any: GAP_MS }));
  const catalog = createCatalog(host, settings, api);
  const restricted = settings.dataCenters.length + settings.countries.length > 0;
  const fleet = createFleet(host, {
    ...createPods(host, settings, api, catalog),
    regions: restricted ? catalog.regions : null,
  });
  return {
    ...fleet,
    async validate() {
      return problems.length > 0 ? { ok: false, problems } : { ok: true };
    },
    offers: (need) => catalog.offers(need),
    inspect: () => inspectAccount(api, catalog),
  };
}
