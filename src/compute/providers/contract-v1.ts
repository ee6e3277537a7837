/** Lets plugins of provider contract 1 run under contract 2: it adds what they cannot say. */
import { type Offer, PROVIDER_CONTRACT, type Provider, type ProviderPlugin } from "../../contract/provider.ts";

/** An offer as contract 1 describes it. */
type OfferV1 = Omit<
  Offer,
  | "market"
  | "region"
  | "zone"
  | "machineType"
  | "diskMb"
  | "currency"
  | "quoteExpiresAt"
  | "maxLifetimeS"
  | "preemptionNoticeS"
>;

/** A plugin that was written for contract 1. Launches, handles and states are the same in both. */
interface PluginV1 extends Omit<ProviderPlugin, "contract" | "capabilities" | "create"> {
  capabilities: Pick<ProviderPlugin["capabilities"], "logs" | "gpus" | "survivesServer" | "local">;
  create(...given: Parameters<ProviderPlugin["create"]>): Omit<Provider, "offers"> & {
    offers(...given: Parameters<Provider["offers"]>): Promise<OfferV1[]>;
  };
}

/** Contract 1 had no spot machines and no regions, and prices were in USD. */
function upgradeOffer(offer: OfferV1, local: boolean): Offer {
  return {
    ...offer,
    market: (offer.local ?? local) || offer.pricePerHour === 0 ? "own" : "on_demand",
    region: null,
    zone: null,
    machineType: null,
    diskMb: null,
    currency: "USD",
    quoteExpiresAt: null,
    maxLifetimeS: null,
    preemptionNoticeS: null,
  };
}

/** The plugin as one of the current contract. Machines of kind `machine` cost money; nothing ends them but the host. */
export function upgradePlugin(plugin: PluginV1): ProviderPlugin {
  const { capabilities } = plugin;
  return {
    ...plugin,
    contract: PROVIDER_CONTRACT,
    capabilities: {
      ...capabilities,
      priced: plugin.kind === "machine" && !capabilities.local,
      spot: false,
      vendorDeadline: false,
      multiNode: false,
    },
    create(host, config) {
      const provider = plugin.create(host, config);
      return Object.assign(Object.create(provider) as Provider, {
        offers: async (need: Parameters<Provider["offers"]>[0]) =>
          (await provider.offers(need)).map((offer) => upgradeOffer(offer, capabilities.local)),
      });
    },
  };
}
