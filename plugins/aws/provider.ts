/** The AWS provider: one EC2 machine per launch, found again by its tags. */
import type { Handle, Provider, ProviderHost, WorkStatus } from "../../src/contract/provider.ts";
import { createParts, type Parts } from "./clients.ts";
import { inspect } from "./inspect.ts";
import { launch } from "./launch.ts";
import { ABSENT, isYoung, machinesOfKey, onlyOne, statusOf } from "./machines.ts";
import { createOffers } from "./offers.ts";
import { listOwned, terminate } from "./owned.ts";
import { createPlaces } from "./place.ts";
import { createPrices } from "./prices.ts";
import type { Settings } from "./settings.ts";

/** Creates the provider. `validate` is the manifest's: nothing of AWS is needed for it. */
export function createAws(host: ProviderHost, settings: Settings): Provider {
  const parts = createParts(host, settings);
  const prices = createPrices(parts);
  const places = createPlaces(parts);
  return {
    validate: async () => ({ ok: true }),
    offers: createOffers(parts, prices),
    launch: (spec, offer, context) => launch(parts, { places, prices }, spec, offer, context),
    describe: (handle) => describe(parts, handle),
    terminate: (handle) => terminate(parts, handle),
    listOwned: (installation) => listOwned(parts, installation),
    inspect: () => inspect(parts),
  };
}

async function describe(parts: Parts, handle: Handle): Promise<WorkStatus> {
  const regions = typeof handle.region === "string" ? [handle.region] : parts.settings.regions;
  const found = await Promise.all(
    regions.map(async (region) => onlyOne(parts, region, await machinesOfKey(parts, region, handle.key))),
  );
  const statuses = found.filter((one) => one !== null).map(statusOf);
  const best = statuses.find(({ state }) => state === "running" || state === "starting") ?? statuses[0];
  if (best) return best;
  // EC2 shows a machine some seconds after it has created it.
  return isYoung(parts, handle) ? { ...ABSENT, state: "starting" } : ABSENT;
}
