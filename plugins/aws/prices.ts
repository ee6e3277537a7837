/** Prices of machines on demand and as spot machines, with disk and address, in USD per hour. */
import { DescribeSpotPriceHistoryCommand, type _InstanceType as InstanceType } from "@aws-sdk/client-ec2";
import { GetProductsCommand } from "@aws-sdk/client-pricing";
import type { Market } from "../../src/contract/provider.ts";
import { cached, type Parts, pages } from "./clients.ts";
import { codeOf } from "./errors.ts";

/**
 * On-demand prices for Linux in us-east-1, as AWS's console showed them in August 2026. They are used when the account
 * may not ask for the price list, and only in the regions below, which have the same prices.
 */
const LISTED: Readonly<Record<string, number>> = {
  "g4dn.xlarge": 0.526,
  "g4dn.2xlarge": 0.752,
  "g4dn.4xlarge": 1.204,
  "g4dn.8xlarge": 2.176,
  "g4dn.12xlarge": 3.912,
  "g4dn.16xlarge": 4.352,
  "g5.xlarge": 1.006,
  "g5.2xlarge": 1.212,
  "g5.4xlarge": 1.624,
  "g5.8xlarge": 2.448,
  "g5.12xlarge": 5.672,
  "g5.16xlarge": 4.096,
  "g5.24xlarge": 8.144,
  "g5.48xlarge": 16.288,
  "g6.xlarge": 0.8048,
  "g6.2xlarge": 0.9776,
  "g6.4xlarge": 1.3232,
  "g6.8xlarge": 2.0144,
  "g6.12xlarge": 4.6016,
  "g6.16xlarge": 3.3968,
  "g6.24xlarge": 6.6752,
  "g6.48xlarge": 13.3504,
  "g6e.xlarge": 1.861,
  "g6e.2xlarge": 2.24208,
  "g6e.4xlarge": 3.00424,
  "g6e.8xlarge": 4.52856,
  "g6e.12xlarge": 10.49264,
  "g6e.16xlarge": 7.57719,
  "g6e.24xlarge": 15.06559,
  "g6e.48xlarge": 30.13118,
  "g7e.2xlarge": 3.36312,
  "g7e.4xlarge": 3.99816,
  "g7e.8xlarge": 5.26824,
  "g7e.12xlarge": 8.28608,
  "g7e.24xlarge": 16.57216,
  "g7e.48xlarge": 33.14432,
  "p4d.24xlarge": 21.957642,
  "p4de.24xlarge": 27.44705,
  "p5.4xlarge": 6.88,
  "p5.48xlarge": 55.04,
  "p5en.48xlarge": 63.296,
  "p6-b200.48xlarge": 113.9328,
};
const LISTED_REGIONS = ["us-east-1", "us-east-2", "us-west-2"];

/** USD per hour for a GB of gp3, and for a public IPv4 address, in us-east-1. Other regions ask up to half more. */
const DISK_GB_HOUR = 0.08 / 730;
const ADDRESS_HOUR = 0.005;

/** USD per hour for what a machine needs beside itself. */
export const extrasPerHour = (diskGb: number) => diskGb * DISK_GB_HOUR + ADDRESS_HOUR;

const DAY_MS = 86_400_000;
const SPOT_MS = 300_000;

/** `PriceList` of GetProducts: a product and its terms, as JSON. */
interface PriceListEntry {
  product?: { attributes?: { instanceType?: string } };
  terms?: {
    OnDemand?: Record<string, { priceDimensions?: Record<string, { unit?: string; pricePerUnit?: { USD?: string } }> }>;
  };
}

/** Instance type and price of an entry; null when it has none by the hour. */
function readEntry(text: string): [string, number] | null {
  const { product, terms } = JSON.parse(text) as PriceListEntry;
  const type = product?.attributes?.instanceType;
  for (const term of Object.values(terms?.OnDemand ?? {}))
    for (const { unit, pricePerUnit } of Object.values(term.priceDimensions ?? {})) {
      const price = Number(pricePerUnit?.USD);
      if (type && unit === "Hrs" && price > 0) return [type, price];
    }
  return null;
}

/** Linux machines with GPUs, without reservation and software. */
const PRODUCTS = {
  instanceFamily: "GPU instance",
  operatingSystem: "Linux",
  preInstalledSw: "NA",
  tenancy: "Shared",
  capacitystatus: "Used",
};

async function priceList(parts: Parts, region: string): Promise<Map<string, number>> {
  const filters = Object.entries({ ...PRODUCTS, regionCode: region });
  const list = await pages<string>(async (NextToken) => {
    const command = new GetProductsCommand({
      ServiceCode: "AmazonEC2",
      Filters: filters.map(([Field, Value]) => ({ Type: "TERM_MATCH", Field, Value })),
      NextToken,
    });
    const answer = await parts.call("pricing", () => parts.pricing().send(command));
    return { items: (answer.PriceList ?? []).map((one: unknown) => String(one)), token: answer.NextToken };
  });
  return new Map(list.map((text) => readEntry(text)).filter((entry) => entry !== null));
}

/** Current spot prices of a region by `zone type`. */
async function spotPrices(parts: Parts, region: string, types: string[]): Promise<Map<string, number>> {
  const found = await pages(async (NextToken) => {
    const command = new DescribeSpotPriceHistoryCommand({
      InstanceTypes: types as InstanceType[],
      // From now on: the prices that hold at the moment.
      StartTime: new Date(parts.host.clock.now()),
      ProductDescriptions: ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
      NextToken,
    });
    const answer = await parts.call(region, () => parts.ec2(region).send(command));
    return { items: answer.SpotPriceHistory ?? [], token: answer.NextToken || undefined };
  });
  const newest = new Map<string, { at: number; price: number }>();
  for (const { AvailabilityZone, InstanceType: type, SpotPrice, Timestamp } of found) {
    const name = `${AvailabilityZone} ${type}`;
    const at = Timestamp?.getTime() ?? 0;
    const price = Number(SpotPrice);
    if (price > 0 && at >= (newest.get(name)?.at ?? 0)) newest.set(name, { at, price });
  }
  return new Map([...newest].map(([name, { price }]) => [name, price]));
}

export interface Prices {
  /** Prices of the machines alone on demand, by type; types without a known price are missing. */
  onDemand(region: string): Promise<ReadonlyMap<string, number>>;
  /** Spot prices of the machines alone by `zone type`, at most five minutes old. */
  spot(region: string, types: string[]): Promise<ReadonlyMap<string, number>>;
  /** The price of one machine now, with disk and address; null when AWS names none. */
  now(machine: { region: string; zone: string; type: string; market: Market; diskGb: number }): Promise<number | null>;
}

export function createPrices(parts: Parts): Prices {
  const onDemand = cached(parts.host, DAY_MS, async (region): Promise<ReadonlyMap<string, number>> => {
    try {
      return await priceList(parts, region);
    } catch (error) {
      const listed = LISTED_REGIONS.includes(region) ? LISTED : {};
      parts.host.log("warn", "AWS's price list cannot be read; prices of August 2026 are used", {
        region,
        code: codeOf(error),
        types: Object.keys(listed).length,
      });
      return new Map(Object.entries(listed));
    }
  });
  const spot = cached(parts.host, SPOT_MS, (name) => {
    const [region = "", types = ""] = name.split(" ");
    return spotPrices(parts, region, types.split(","));
  });
  return {
    onDemand,
    spot: (region, types) => spot(`${region} ${[...types].sort().join(",")}`),
    async now({ region, zone, type, market, diskGb }) {
      const alone =
        market === "spot"
          ? (await spotPrices(parts, region, [type])).get(`${zone} ${type}`)
          : (await onDemand(region)).get(type);
      return alone === undefined ? null : alone + extrasPerHour(diskGb);
    },
  };
}
