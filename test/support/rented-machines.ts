/** A provider whose machines are elsewhere and cost money, kept in memory: a test says what they do. */
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { LaunchContext, Offer, Provider, ProviderPlugin, WorkStatus } from "../../src/contract/provider.ts";
import type { ComputeRegistry } from "../../src/ctx.ts";

export interface RentedMachines extends ComputeRegistry {
  /** Every launch, in order: the offer and what the machine was given. */
  launches: { offer: string; context: LaunchContext }[];
  /** State of the machines by key; a terminated one is `absent`. */
  machines: Map<string, WorkStatus["state"]>;
}

const RUNNING = { exitCode: null, reason: null, startedAt: null, endedAt: null };

/** @param offers ids of the offers, the cheapest first */
export function rentedMachines(offers: readonly string[]): RentedMachines {
  const machines: RentedMachines["machines"] = new Map();
  const launches: RentedMachines["launches"] = [];
  const shelf = offers.map(
    (id, i): Offer => ({
      ...OWN_MACHINE,
      id,
      market: "on_demand",
      location: "elsewhere",
      gpus: 0,
      gpuName: null,
      gpuMemoryMb: 0,
      cpus: 8,
      memoryMb: 100_000,
      pricePerHour: i + 1,
      startsInS: 60,
      available: true,
    }),
  );
  const provider: Provider = {
    validate: async () => ({ ok: true }),
    offers: async () => shelf,
    async launch(_spec, offer, context) {
      launches.push({ offer: offer.id, context });
      machines.set(context.key, "starting");
      return { provider: "cloud", key: context.key };
    },
    describe: async ({ key }) => ({ ...RUNNING, state: machines.get(key) ?? "absent" }),
    async terminate({ key }) {
      machines.set(key, "absent");
      return { gone: true };
    },
    listOwned: async () => [],
    logs: async () => ["pulling the image"],
  };
  const plugin: ProviderPlugin = {
    id: "cloud",
    title: "Cloud",
    contract: 2,
    kind: "machine",
    capabilities: {
      logs: true,
      gpus: true,
      survivesServer: true,
      local: false,
      priced: true,
      spot: false,
      vendorDeadline: false,
      multiNode: false,
    },
    config: [],
    create: () => provider,
  };
  return {
    machines,
    launches,
    get: (id) => (id === "cloud" ? { plugin, provider } : null),
    list: () => [{ plugin, provider }],
  };
}
