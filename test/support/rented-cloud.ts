/** A provider of rented machines for tests: priced offers and vendor failures as a test sets them, real trainers. */

import { providerError } from "../../src/compute/providers/host.ts";
import type {
  AccountReport,
  Offer,
  OwnedWork,
  Provider,
  ProviderErrorKind,
  ProviderPlugin,
  WorkStatus,
} from "../../src/contract/provider.ts";
import type { Lab } from "./lab.ts";

/** A rented machine with one GPU. */
export const rented = (id: string, more: Partial<Offer> = {}): Offer => ({
  id,
  market: "on_demand",
  location: `region ${id}`,
  region: `r-${id}`,
  zone: null,
  machineType: "gpu.small",
  gpus: 1,
  gpuName: "Test GPU",
  gpuMemoryMb: 80_000,
  cpus: 64,
  memoryMb: 512_000,
  diskMb: null,
  pricePerHour: 1,
  currency: "USD",
  quoteExpiresAt: null,
  maxLifetimeS: null,
  preemptionNoticeS: null,
  startsInS: 0,
  available: true,
  local: true,
  ...more,
});

/** A failure that the vendor answers with. */
interface Fault {
  kind: ProviderErrorKind;
  code: string;
  retryAfterS?: number;
}

/** The vendor as a test sets it. */
export interface Cloud {
  offers: Offer[];
  /** What a launch at an offer answers instead. */
  faults: Map<string, Fault>;
  /** What a request for offers answers instead. */
  down: Fault | null;
  /** Added to the state of every machine. */
  status: Partial<WorkStatus>;
  /** Listed besides the machines of jobs, and how often each was asked to go. */
  stray: { work: OwnedWork; staysFor: number }[];
  asked: { offers: number; launches: string[]; terminated: string[] };
  account: AccountReport;
}

/** Adds the provider `cloud` to a lab; its machines are processes of this machine. */
export function addCloud(lab: Lab): Cloud {
  const [own] = lab.ctx.compute.list();
  if (!own) throw new Error("no provider");
  const cloud: Cloud = {
    offers: [rented("a")],
    faults: new Map(),
    down: null,
    status: {},
    stray: [],
    asked: { offers: 0, launches: [], terminated: [] },
    account: { checks: [], balanceUsd: 12.5, quotas: [], regions: ["r-a"] },
  };
  const fail = ({ kind, code, retryAfterS }: Fault): never => {
    throw providerError(kind, `the vendor answered ${code}`, { vendorCode: code, retryAfterS });
  };
  const provider: Provider = {
    validate: async () => ({ ok: true }),
    inspect: async () => cloud.account,
    async offers(need) {
      cloud.asked.offers++;
      if (cloud.down) fail(cloud.down);
      return cloud.offers.filter((one) => one.gpus >= need.gpus);
    },
    async launch(spec, offer, context) {
      cloud.asked.launches.push(offer.id);
      const fault = cloud.faults.get(offer.id);
      if (fault) fail(fault);
      if (context.maxPricePerHour !== null && offer.pricePerHour > context.maxPricePerHour)
        throw providerError("no_capacity", "the price was raised", { reason: "price_raised" });
      return own.provider.launch({ ...spec, need: { ...spec.need, gpus: 0 } }, offer, context);
    },
    async describe(handle) {
      const status = await own.provider.describe(handle);
      return { ...status, ...cloud.status };
    },
    async terminate(handle, options) {
      const stray = cloud.stray.find(({ work }) => work.handle.key === handle.key);
      if (!stray) return own.provider.terminate(handle, options);
      cloud.asked.terminated.push(handle.key);
      stray.staysFor--;
      return { gone: true };
    },
    listOwned: async () => cloud.stray.flatMap(({ work, staysFor }) => (staysFor > 0 ? [work] : [])),
  };
  const plugin: ProviderPlugin = {
    ...own.plugin,
    id: "cloud",
    title: "Cloud",
    kind: "machine",
    config: [],
    capabilities: { ...own.plugin.capabilities, logs: false, gpus: true, local: false, priced: true, spot: true },
  };
  const entries = [own, { plugin, provider }];
  lab.ctx.compute = { list: () => entries, get: (id) => entries.find((entry) => entry.plugin.id === id) ?? null };
  return cloud;
}
