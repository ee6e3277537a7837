/**
 * Offers from Lambda's instance types: one for each type and region with capacity. Prices are for the whole machine.
 */
import type { Offer, ProviderHost } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import type { Api } from "./api.ts";
import type { Settings } from "./settings.ts";

export interface InstanceType {
  name: string;
  description: string;
  gpu_description: string;
  price_cents_per_hour: number;
  specs: { vcpus: number; memory_gib: number; storage_gib: number; gpus: number };
}

interface Entry {
  instance_type: InstanceType;
  regions_with_capacity_available: { name: string; description: string }[];
}

/** Drivers, Docker and the image of several GB come after the machine itself. */
const STARTS_IN_S = 420;
/** Machines with eight GPUs boot slowly. */
const STARTS_LARGE_S = 900;
const TYPES_AGE_MS = 30_000;
/** Types whose processors are not x86, which the trainer's image is built for. */
const ARM = /gh200|gb200|gb300|grace/i;

/** `H100 (80 GB SXM5)` is H100 with 80 GB; null for any other text. */
export function readGpu(text: string): { name: string; memoryMb: number } | null {
  const [, name, memory] = /^(.{1,40}?)\s*\((\d+)\s*GB/.exec(text) ?? [];
  return name && memory ? { name, memoryMb: Number(memory) * 1024 } : null;
}

export interface Catalog {
  offers(need: Need): Promise<Offer[]>;
  /** USD per hour of a type now, and where it is free; null when it is not sold any more. Asks Lambda. */
  look(type: string): Promise<{ pricePerHour: number; regions: string[] } | null>;
}

export function createCatalog(host: ProviderHost, settings: Settings, api: Api): Catalog {
  let kept: { at: number; value: Promise<Entry[]> } | null = null;

  function types(fresh: boolean): Promise<Entry[]> {
    if (kept && !fresh && host.clock.now() - kept.at < TYPES_AGE_MS) return kept.value;
    const value = api.call<Record<string, Entry>>("GET", "/instance-types").then((all) => Object.values(all));
    const entry = { at: host.clock.now(), value };
    kept = entry;
    value.catch(() => {
      if (kept === entry) kept = null;
    });
    return value;
  }

  const allowed = (region: string) => settings.regions.length === 0 || settings.regions.includes(region);

  return {
    async look(type) {
      const entry = (await types(true)).find((one) => one.instance_type.name === type);
      return (
        (entry && {
          pricePerHour: entry.instance_type.price_cents_per_hour / 100,
          regions: entry.regions_with_capacity_available.map(({ name }) => name).filter(allowed),
        }) ??
        null
      );
    },

    async offers(need) {
      const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
      const offers: Offer[] = [];
      for (const { instance_type: type, regions_with_capacity_available: regions } of await types(false)) {
        const { specs, name } = type;
        const gpu = readGpu(type.gpu_description);
        const pricePerHour = type.price_cents_per_hour / 100;
        if (!gpu || specs.gpus < Math.max(1, need.gpus) || ARM.test(`${name} ${type.gpu_description}`)) continue;
        if (gpu.memoryMb < need.gpu_memory_mb || specs.vcpus < need.cpus || pricePerHour > ceiling) continue;
        if (specs.memory_gib * 1024 < need.memory_mb || specs.storage_gib * 1024 < need.disk_mb) continue;
        const places: ({ name: string; description: string } | null)[] = regions.filter((one) => allowed(one.name));
        for (const place of places.length > 0 ? places : [null])
          offers.push({
            id: `${name}.${place?.name ?? "none"}`,
            market: "on_demand",
            location: place ? `${place.description} (${place.name})` : "no region with capacity",
            region: place?.name ?? null,
            zone: null,
            machineType: name,
            gpus: specs.gpus,
            gpuName: gpu.name,
            gpuMemoryMb: gpu.memoryMb,
            cpus: specs.vcpus,
            memoryMb: specs.memory_gib * 1024,
            diskMb: specs.storage_gib * 1024,
            pricePerHour,
            currency: "USD",
            quoteExpiresAt: null,
            maxLifetimeS: null,
            preemptionNoticeS: null,
            startsInS: specs.gpus >= 8 ? STARTS_LARGE_S : STARTS_IN_S,
            available: place !== null,
            local: false,
          });
      }
      const order = (a: Offer, b: Offer) =>
        Number(b.available) - Number(a.available) || a.pricePerHour - b.pricePerHour || (a.id < b.id ? -1 : 1);
      return offers.sort(order);
    },
  };
}
