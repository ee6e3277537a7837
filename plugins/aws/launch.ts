/** Starts one machine for a key, whatever happens to the answers. */
import { createHash } from "node:crypto";
import {
  type Instance,
  type _InstanceType as InstanceType,
  type ResourceType,
  RunInstancesCommand,
  type RunInstancesCommandInput,
} from "@aws-sdk/client-ec2";
import type { Handle, LaunchContext, LaunchSpec, Offer } from "../../src/contract/provider.ts";
import { checkKey, PINNED_IMAGE, rentedName } from "../shared/rented.ts";
import type { Parts } from "./clients.ts";
import { codeOf, isUncertain } from "./errors.ts";
import { handleOf, machinesOfKey, onlyOne, TAG } from "./machines.ts";
import { diskFor } from "./offers.ts";
import type { Places } from "./place.ts";
import { extrasPerHour, type Prices } from "./prices.ts";
import { userData } from "./user-data.ts";

/** Seconds until a machine that AWS has just created can be found. */
const VISIBLE_S = 10;
/** EC2 allows 50 tags a resource. */
const MAX_LABELS = 40;

/** A launch refuses what EC2 would do differently. @returns where the machine is to be */
function placeOf(parts: Parts, spec: LaunchSpec, offer: Offer, context: LaunchContext) {
  const { host, settings } = parts;
  checkKey(host, context.key);
  if (spec.kind === "serve")
    throw host.error("invalid", "Machines at AWS accept no connections, so they cannot serve a model.");
  if ((spec.nodes ?? 1) > 1) throw host.error("invalid", "AWS machines of this provider work alone.");
  const { region, zone, machineType: type } = offer;
  if (!region || !zone || !type) throw host.error("invalid", "The offer names no region, zone and type.");
  if (!settings.regions.includes(region))
    throw host.error("invalid", `The region ${region} is not among the configured regions.`);
  if (offer.market === "spot" && !settings.spot) throw host.error("invalid", "Spot machines are switched off.");
  const image = spec.image && PINNED_IMAGE.test(spec.image) ? spec.image : settings.image;
  return { region, zone, type, image };
}

/** The highest spot price in USD that the launch accepts. @throws `no_capacity` when the machine costs more now */
async function priceLimit(
  parts: Parts,
  prices: Prices,
  machine: { region: string; zone: string; type: string; market: Offer["market"]; diskGb: number },
  limit: number | null,
): Promise<string | undefined> {
  if (limit === null) return undefined;
  const now = await prices.now(machine);
  const about = `${machine.type} in ${machine.zone}`;
  if (now === null) throw parts.host.error("no_capacity", `AWS names no price for ${about}.`);
  if (now > limit)
    throw parts.host.error("no_capacity", `${about} costs ${now.toFixed(4)} USD per hour now, the limit is ${limit}.`, {
      reason: "price_raised",
    });
  return machine.market === "spot" ? (limit - extrasPerHour(machine.diskGb)).toFixed(6) : undefined;
}

function tagsOf(parts: Parts, context: LaunchContext) {
  const { installation } = parts.host;
  const labels = Object.entries(context.labels).slice(0, MAX_LABELS);
  return [
    { Key: "Name", Value: rentedName(installation, context.key) },
    { Key: TAG.installation, Value: installation },
    { Key: TAG.key, Value: context.key },
    { Key: TAG.expires, Value: new Date(context.deadline).toISOString() },
    ...labels.map(([name, value]) => ({ Key: `${TAG.label}${name}`, Value: value.slice(0, 256) })),
  ];
}

/**
 * Starts the machine of `context.key`, or finds it. EC2 itself refuses a second machine for the same client token;
 * after an answer that says nothing, the machine is searched, and the same request is sent once more.
 */
export async function launch(
  parts: Parts,
  tools: { places: Places; prices: Prices },
  spec: LaunchSpec,
  offer: Offer,
  context: LaunchContext,
): Promise<Handle> {
  const { host, settings } = parts;
  const { region, zone, type, image } = placeOf(parts, spec, offer, context);
  const script = userData(host, spec, context, image);
  const look = async () => {
    const found = await onlyOne(parts, region, await machinesOfKey(parts, region, context.key));
    return found && handleOf(region, context.key, found);
  };
  return host.inTurn(`aws ${context.key}`, async () => {
    const before = await look();
    if (before) return before;
    const ami = await tools.places.ami(region);
    const subnet = await tools.places.subnet(region, zone);
    const groups = await tools.places.groups(region, subnet);
    const diskGb = Math.max(diskFor(spec.need, settings.diskGb), ami.minGb);
    const machine = { region, zone, type, market: offer.market, diskGb };
    const maxPrice = await priceLimit(parts, tools.prices, machine, context.maxPricePerHour);
    const spot = offer.market === "spot";
    const tagged: ResourceType[] = ["instance", "volume", "network-interface"];
    const input: RunInstancesCommandInput = {
      ImageId: ami.id,
      InstanceType: type as InstanceType,
      MinCount: 1,
      MaxCount: 1,
      // Of the offer too: a request that failed for one offer does not stand in the way of the next.
      ClientToken: createHash("sha256").update(`${host.installation}/${context.key}/${offer.id}`).digest("hex"),
      UserData: script,
      InstanceInitiatedShutdownBehavior: "terminate",
      // Containers are one hop away: they cannot read the metadata of the machine.
      MetadataOptions: { HttpTokens: "required", HttpEndpoint: "enabled", HttpPutResponseHopLimit: 1 },
      BlockDeviceMappings: [
        { DeviceName: ami.rootDevice, Ebs: { VolumeSize: diskGb, VolumeType: "gp3", DeleteOnTermination: true } },
      ],
      SecurityGroupIds: groups,
      Placement: { AvailabilityZone: zone },
      ...(subnet ? { SubnetId: subnet.id } : {}),
      TagSpecifications: [...tagged, ...(spot ? (["spot-instances-request"] as const) : [])].map((ResourceType) => ({
        ResourceType,
        Tags: tagsOf(parts, context),
      })),
      ...(spot
        ? {
            InstanceMarketOptions: {
              MarketType: "spot",
              SpotOptions: {
                SpotInstanceType: "one-time",
                InstanceInterruptionBehavior: "terminate",
                ...(maxPrice ? { MaxPrice: maxPrice } : {}),
              },
            },
          }
        : {}),
    };
    return start(parts, region, context.key, input, look);
  });
}

async function start(
  parts: Parts,
  region: string,
  key: string,
  input: RunInstancesCommandInput,
  look: () => Promise<Handle | null>,
): Promise<Handle> {
  const { host } = parts;
  const run = async (): Promise<Handle> => {
    const answer = await parts.call(region, () => parts.ec2(region).send(new RunInstancesCommand(input)));
    const made: Instance | undefined = answer.Instances?.[0];
    if (!made?.InstanceId) throw host.error("transient", "AWS answered without a machine.");
    return handleOf(region, key, made);
  };
  try {
    return await run();
  } catch (error) {
    if (codeOf(error) === "IdempotentParameterMismatch") {
      const found = await look();
      if (found) return found;
      const message = "AWS has started the machine of this launch, but does not show it yet.";
      throw host.error("transient", message, { retryAfterS: VISIBLE_S, vendorCode: "IdempotentParameterMismatch" });
    }
    if (!isUncertain(error) || host.signal.aborted) throw error;
    const found = await look();
    if (found) return found;
    host.log("warn", "AWS did not say whether it started the machine; the request is repeated", { region, key });
    try {
      return await run();
    } catch (again) {
      if (!isUncertain(again)) throw again;
      const late = await look();
      if (late) return late;
      throw again;
    }
  }
}
