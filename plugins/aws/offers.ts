/** Offers: machine types with NVIDIA GPUs, in every zone that has them, on demand and as spot machines. */
import {
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  type InstanceTypeInfo,
} from "@aws-sdk/client-ec2";
import type { Market, Offer } from "../../src/contract/provider.ts";
import type { Need } from "../../src/contract/spec.ts";
import { cached, type Parts, pages } from "./clients.ts";
import { extrasPerHour, type Prices } from "./prices.ts";

const HOUR_MS = 3_600_000;
/** Boot, drivers and the pull of the image. */
const STARTS_IN_S = 300;
/** AWS's warning before it takes a spot machine back. */
const NOTICE_S = 120;
/** GB of the disk that system and image take. */
const SYSTEM_GB = 40;

interface Type {
  name: string;
  gpus: number;
  gpuName: string;
  gpuMemoryMb: number;
  cpus: number;
  memoryMb: number;
  spot: boolean;
  zones: string[];
}

/** A machine type that can run the trainer image: x86, whole NVIDIA GPUs. */
function readType(info: InstanceTypeInfo): Omit<Type, "zones">[] {
  const [gpu, ...other] = info.GpuInfo?.Gpus ?? [];
  if (!gpu || other.length > 0 || gpu.Manufacturer?.toUpperCase() !== "NVIDIA" || info.BareMetal) return [];
  if (!info.ProcessorInfo?.SupportedArchitectures?.includes("x86_64") || !info.InstanceType) return [];
  // Types with a part of a GPU report less than one.
  if (!gpu.Count || gpu.Count < 1) return [];
  return [
    {
      name: info.InstanceType,
      gpus: gpu.Count,
      gpuName: `NVIDIA ${gpu.Name ?? "GPU"}`,
      gpuMemoryMb: gpu.MemoryInfo?.SizeInMiB ?? 0,
      cpus: info.VCpuInfo?.DefaultVCpus ?? 0,
      memoryMb: info.MemoryInfo?.SizeInMiB ?? 0,
      spot: info.SupportedUsageClasses?.includes("spot") ?? false,
    },
  ];
}

async function typesOf(parts: Parts, region: string): Promise<Type[]> {
  const client = parts.ec2(region);
  const infos = await pages(async (NextToken) => {
    const command = new DescribeInstanceTypesCommand({
      Filters: [{ Name: "instance-type", Values: parts.settings.types }],
      NextToken,
    });
    const answer = await parts.call(region, () => client.send(command));
    return { items: answer.InstanceTypes ?? [], token: answer.NextToken };
  });
  const types = infos.flatMap(readType);
  if (types.length === 0) return [];
  const places = await pages(async (NextToken) => {
    const command = new DescribeInstanceTypeOfferingsCommand({
      LocationType: "availability-zone",
      Filters: [{ Name: "instance-type", Values: types.map(({ name }) => name) }],
      NextToken,
    });
    const answer = await parts.call(region, () => client.send(command));
    return { items: answer.InstanceTypeOfferings ?? [], token: answer.NextToken };
  });
  return types.map((type) => ({
    ...type,
    zones: places
      .flatMap((place) => (place.InstanceType === type.name && place.Location ? [place.Location] : []))
      .sort(),
  }));
}

/** GB of the root volume for a need. */
export const diskFor = (need: Need, diskGb: number) => Math.max(diskGb, Math.ceil(need.disk_mb / 1000) + SYSTEM_GB);

const fits = (type: Type, need: Need) =>
  type.gpus >= Math.max(1, need.gpus) &&
  type.gpuMemoryMb >= need.gpu_memory_mb &&
  type.cpus >= need.cpus &&
  type.memoryMb >= need.memory_mb;

/** Offers for a need in all regions, the cheapest first. A region that does not answer has none, unless all fail. */
export function createOffers(parts: Parts, prices: Prices): (need: Need) => Promise<Offer[]> {
  const { settings, host } = parts;
  const catalog = cached(host, HOUR_MS, (region) => typesOf(parts, region));

  async function inRegion(region: string, need: Need): Promise<Offer[]> {
    const types = (await catalog(region)).filter((type) => fits(type, need));
    if (types.length === 0) return [];
    const names = types.filter(({ spot }) => spot).map(({ name }) => name);
    const [listed, spot] = await Promise.all([
      prices.onDemand(region),
      settings.spot && names.length > 0 ? prices.spot(region, names) : new Map<string, number>(),
    ]);
    const diskGb = diskFor(need, settings.diskGb);
    const offer = (type: Type, zone: string, market: Market, price: number | undefined): Offer[] =>
      price === undefined
        ? []
        : [
            {
              id: `${zone}/${type.name}/${market}`,
              market,
              location: zone,
              region,
              zone,
              machineType: type.name,
              gpus: type.gpus,
              gpuName: type.gpuName,
              gpuMemoryMb: type.gpuMemoryMb,
              cpus: type.cpus,
              memoryMb: type.memoryMb,
              diskMb: (diskGb - SYSTEM_GB) * 1000,
              pricePerHour: Number((price + extrasPerHour(diskGb)).toFixed(6)),
              currency: "USD",
              quoteExpiresAt: null,
              maxLifetimeS: null,
              preemptionNoticeS: market === "spot" ? NOTICE_S : null,
              startsInS: STARTS_IN_S,
              available: true,
              local: false,
            },
          ];
    return types.flatMap((type) =>
      type.zones.flatMap((zone) => [
        ...offer(type, zone, "on_demand", listed.get(type.name)),
        ...offer(type, zone, "spot", spot.get(`${zone} ${type.name}`)),
      ]),
    );
  }

  return async (need) => {
    const regions = await Promise.allSettled(settings.regions.map((region) => inRegion(region, need)));
    const failed = regions.find((one) => one.status === "rejected");
    if (failed && regions.every((one) => one.status === "rejected")) throw failed.reason;
    if (failed) host.log("warn", "a region of AWS gave no offers", { problem: String(failed.reason) });
    const ceiling = need.max_price_per_hour ?? Number.POSITIVE_INFINITY;
    return regions
      .flatMap((one) => (one.status === "fulfilled" ? one.value : []))
      .filter(({ pricePerHour }) => pricePerHour <= ceiling)
      .sort((a, b) => a.pricePerHour - b.pricePerHour || (a.id < b.id ? -1 : 1));
  };
}
