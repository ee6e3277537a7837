/** Offers from RunPod's catalog: one for each GPU type and data center that has it now. */
import type { Offer, ProviderHost } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import type { Api } from "./api.ts";
import type { Settings } from "./settings.ts";

type Level = "NONE" | "LOW" | "MEDIUM" | "HIGH";

interface Gpu {
  id: string;
  name: string;
  manufacturer: string;
  memory: number;
  secure: boolean;
  community: boolean;
  price: { secure: number; community: number };
  maxCount: { secure: number; community: number };
  availability?: Level;
  dataCenters?: { id: string; name: string; availability: Level }[];
}

/** Lowest bids per GPU-hour, by GPU type. */
type Bids = Map<string, number>;

/**
 * RunPod's catalog names neither CPU nor memory, and REST v2 takes no minimum. This is the least that a pod gets for
 * each GPU by its price list; spot pods ask for it.
 */
const PER_GPU = { cpus: 4, memoryMb: 16 * 1024 };
/** A pod that no catalog says is free is seldom started sooner than this, image included. */
const STARTS_IN_S = 180;
/** RunPod sends SIGTERM, and kills this later. */
const SPOT_NOTICE_S = 5;
/** The catalog asks to be read seldom: 30 GPU types and as many data centers come in one answer. */
const CATALOG_AGE_MS = 30_000;
/** Enough to walk through; the host tries them in order. */
const MOST_OFFERS = 100;

const BIDS = `query Bids($input: GpuLowestPriceInput!) {
  gpuTypes { id lowestPrice(input: $input) { minimumBidPrice } }
}`;

/** The bid per GPU: what the launch may cost, but never more than the same pod without interruption. */
export function bidFor(offer: Offer, maxPricePerHour: number | null, onDemand: number | null): number {
  const highest = Math.min(maxPricePerHour ?? offer.pricePerHour, onDemand ?? Number.POSITIVE_INFINITY);
  return Math.floor((highest / offer.gpus) * 1000) / 1000;
}

export interface Catalog {
  offers(need: Need): Promise<Offer[]>;
  /** USD per hour of an on-demand pod now; null when the type is not sold any more. */
  price(gpuId: string, count: number): Promise<number | null>;
  /** The data centers of the settings, with those of its countries; null = all. */
  regions(): Promise<string[] | null>;
}

export function createCatalog(host: ProviderHost, settings: Settings, api: Api): Catalog {
  const kept = new Map<string, { at: number; value: Promise<unknown> }>();
  const side = settings.cloud === "SECURE" ? "secure" : "community";

  /** One request for everybody who asks within `CATALOG_AGE_MS`; a failure is not kept. */
  function remembered<T>(name: string, ask: () => Promise<T>): Promise<T> {
    const before = kept.get(name);
    if (before && host.clock.now() - before.at < CATALOG_AGE_MS) return before.value as Promise<T>;
    const entry = { at: host.clock.now(), value: ask() };
    kept.set(name, entry);
    entry.value.catch(() => kept.delete(name));
    return entry.value;
  }

  const gpusFor = (count: number) =>
    remembered(`gpus ${count}`, async () => {
      const query = new URLSearchParams({ include: "AVAILABILITY", product: "POD", cloud: settings.cloud });
      query.set("count", String(count));
      // Data centers and countries together are a union, which the API cannot express.
      if (settings.countries.length > 0 && settings.dataCenters.length === 0)
        query.set("countryCodes", settings.countries.join(","));
      return (await api.rest<{ gpus: Gpu[] }>("GET", `/v2/catalog/gpus?${query}`)).gpus;
    });

  const bidsFor = (count: number) =>
    remembered(`bids ${count}`, async (): Promise<Bids> => {
      const input = { gpuCount: count, secureCloud: settings.cloud === "SECURE" };
      type Answer = { gpuTypes: { id: string; lowestPrice: { minimumBidPrice: number | null } | null }[] };
      const { gpuTypes } = await api.graphql<Answer>(BIDS, { input });
      const bids = gpuTypes.map(({ id, lowestPrice }) => [id, lowestPrice?.minimumBidPrice ?? 0] as const);
      return new Map(bids.filter(([, bid]) => bid > 0));
    });

  const inCountries = () =>
    remembered("countries", async () => {
      const query = new URLSearchParams({ include: "AVAILABILITY", product: "POD", cloud: settings.cloud });
      query.set("countryCodes", settings.countries.join(","));
      const { gpus } = await api.rest<{ gpus: Gpu[] }>("GET", `/v2/catalog/gpus?${query}`);
      return [...new Set(gpus.flatMap(({ dataCenters = [] }) => dataCenters.map(({ id }) => id)))];
    });

  async function regions(): Promise<string[] | null> {
    if (settings.dataCenters.length === 0 && settings.countries.length === 0) return null;
    const found = settings.countries.length > 0 ? await inCountries() : [];
    return [...new Set([...settings.dataCenters, ...found])];
  }

  /** Where the type is: data centers with what is free there. Community machines may have none. */
  function placesOf(gpu: Gpu, allowed: string[] | null): { id: string | null; name: string; level: Level }[] {
    const listed = (gpu.dataCenters ?? []).map(({ id, name, availability }) => ({ id, name, level: availability }));
    if (allowed) return listed.filter(({ id }) => allowed.includes(id));
    return listed.length > 0 ? listed : [{ id: null, name: "anywhere", level: gpu.availability ?? "NONE" }];
  }

  return {
    regions,

    async price(gpuId, count) {
      kept.delete(`gpus ${count}`);
      const gpu = (await gpusFor(count)).find(({ id }) => id === gpuId);
      return gpu ? gpu.price[side] * count : null;
    },

    async offers(need) {
      const count = Math.max(1, need.gpus);
      if (count > 16 || PER_GPU.cpus * count < need.cpus || PER_GPU.memoryMb * count < need.memory_mb) {
        // More CPU or memory comes with more GPUs only.
        const more = Math.max(need.cpus / PER_GPU.cpus, need.memory_mb / PER_GPU.memoryMb, count);
        if (more > 16) return [];
      }
      const size = Math.ceil(Math.max(count, need.cpus / PER_GPU.cpus, need.memory_mb / PER_GPU.memoryMb));
      if (need.disk_mb > settings.diskGb * 1000) return [];
      const [gpus, bids, allowed] = await Promise.all([
        gpusFor(size),
        settings.spot ? bidsFor(size) : (new Map() as Bids),
        regions(),
      ]);
      const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
      const offers: Offer[] = [];
      for (const gpu of gpus) {
        // Cards of other makers cannot run the trainer.
        if (!gpu[side] || gpu.manufacturer !== "NVIDIA" || gpu.maxCount[side] < size) continue;
        if (gpu.memory * 1024 < need.gpu_memory_mb) continue;
        const rates: [Offer["market"], number][] = [["on_demand", gpu.price[side]]];
        const bid = bids.get(gpu.id);
        if (bid !== undefined) rates.push(["spot", bid]);
        for (const { id, name, level } of placesOf(gpu, allowed))
          for (const [market, rate] of rates) {
            const pricePerHour = Math.round(rate * size * 1e4) / 1e4;
            if (pricePerHour <= 0 || pricePerHour > ceiling) continue;
            offers.push({
              id: [gpu.id.replace(/[^A-Za-z0-9]+/g, "-"), id ?? "any", size, market].join("."),
              market,
              location: id ? `${name} (${id})` : name,
              region: id,
              zone: null,
              machineType: gpu.id,
              gpus: size,
              gpuName: gpu.name,
              gpuMemoryMb: gpu.memory * 1024,
              cpus: PER_GPU.cpus * size,
              memoryMb: PER_GPU.memoryMb * size,
              diskMb: settings.diskGb * 1000,
              pricePerHour,
              currency: "USD",
              quoteExpiresAt: null,
              maxLifetimeS: null,
              preemptionNoticeS: market === "spot" ? SPOT_NOTICE_S : null,
              startsInS: STARTS_IN_S,
              available: level !== "NONE",
              local: false,
            });
          }
      }
      const order = (a: Offer, b: Offer) =>
        Number(b.available) - Number(a.available) || a.pricePerHour - b.pricePerHour || (a.id < b.id ? -1 : 1);
      return offers.sort(order).slice(0, MOST_OFFERS);
    },
  };
}
