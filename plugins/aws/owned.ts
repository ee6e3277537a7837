/** Everything that belongs to an installation at AWS, and how it is removed. */
import {
  CancelSpotInstanceRequestsCommand,
  DeleteNetworkInterfaceCommand,
  DeleteSecurityGroupCommand,
  DeleteVolumeCommand,
  DescribeAddressesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSpotInstanceRequestsCommand,
  DescribeVolumesCommand,
  type Instance,
  ReleaseAddressCommand,
  type Tag,
} from "@aws-sdk/client-ec2";
import type { Handle, OwnedWork, ResourceKind, TerminateResult } from "../../src/contract/provider.ts";
import { type Parts, pages } from "./clients.ts";
import { codeOf } from "./errors.ts";
import {
  endMachines,
  handleOf,
  isKey,
  isYoung,
  labelsOf,
  machinesIn,
  machinesOfKey,
  nameOf,
  onlyOne,
  PRESENT,
  statusOf,
  TAG,
  tagFilter,
  tagOf,
  workState,
} from "./machines.ts";

/** Seconds until termination is looked at again; AWS takes up to some minutes. */
const AGAIN_S = 5;

/** A thing other than a machine. Its id is in the handle, because several can have one key. */
function thing(region: string, resource: ResourceKind, id: string, tags: Tag[] | undefined, shared = false): OwnedWork {
  const tagged = tagOf(tags, TAG.key);
  const handle: Handle = { provider: "aws", key: isKey(tagged) ? tagged : id, region, resource, id };
  return { resource, ...(shared ? { shared } : {}), handle, labels: labelsOf(tags), state: "exited" };
}

async function machines(parts: Parts, region: string, installation: string): Promise<OwnedWork[]> {
  const all = await machinesIn(parts, region, [
    tagFilter(TAG.installation, installation),
    { Name: "instance-state-name", Values: PRESENT },
  ]);
  const byKey = new Map<string, Instance[]>();
  for (const one of all) {
    const tagged = tagOf(one.Tags, TAG.key);
    // A machine that lost its key is listed under its id, so that it can be ended.
    const key = isKey(tagged) ? tagged : (one.InstanceId ?? "");
    byKey.set(key, [...(byKey.get(key) ?? []), one]);
  }
  const own = installation === parts.host.installation;
  const found = await Promise.all(
    [...byKey].map(async ([key, some]) => {
      const one = own ? await onlyOne(parts, region, some) : some[0];
      if (!one) return [];
      const costs = some.map((each) => ({ ...statusOf(each), machine: each.InstanceId ?? "" }));
      return [
        { handle: handleOf(region, key, one), labels: labelsOf(one.Tags), state: workState(one), machines: costs },
      ];
    }),
  );
  return found.flat();
}

/** Volumes, interfaces and requests that no machine uses: what a machine uses ends with it. */
async function leftovers(parts: Parts, region: string, installation: string): Promise<OwnedWork[]> {
  const ec2 = parts.ec2(region);
  const tagged = tagFilter(TAG.installation, installation);
  const call = <T>(send: () => Promise<T>) => parts.call(region, send);
  const [volumes, interfaces, requests, addresses, groups] = await Promise.all([
    pages(async (NextToken) => {
      const Filters = [tagged, { Name: "status", Values: ["available", "error"] }];
      const answer = await call(() => ec2.send(new DescribeVolumesCommand({ Filters, NextToken })));
      return { items: answer.Volumes ?? [], token: answer.NextToken };
    }),
    pages(async (NextToken) => {
      const Filters = [tagged, { Name: "status", Values: ["available"] }];
      const answer = await call(() => ec2.send(new DescribeNetworkInterfacesCommand({ Filters, NextToken })));
      return { items: answer.NetworkInterfaces ?? [], token: answer.NextToken };
    }),
    pages(async (NextToken) => {
      const Filters = [tagged, { Name: "state", Values: ["open"] }];
      const answer = await call(() => ec2.send(new DescribeSpotInstanceRequestsCommand({ Filters, NextToken })));
      return { items: answer.SpotInstanceRequests ?? [], token: answer.NextToken };
    }),
    call(() => ec2.send(new DescribeAddressesCommand({ Filters: [tagged] }))),
    pages(async (NextToken) => {
      const answer = await call(() => ec2.send(new DescribeSecurityGroupsCommand({ Filters: [tagged], NextToken })));
      return { items: answer.SecurityGroups ?? [], token: answer.NextToken };
    }),
  ]);
  return [
    ...volumes.map((one) => thing(region, "volume", one.VolumeId ?? "", one.Tags)),
    ...interfaces.map((one) => thing(region, "network", one.NetworkInterfaceId ?? "", one.TagSet)),
    ...requests.map((one) => thing(region, "spot_request", one.SpotInstanceRequestId ?? "", one.Tags)),
    ...(addresses.Addresses ?? []).map((one) => thing(region, "address", one.AllocationId ?? "", one.Tags)),
    ...groups.map((one) => thing(region, "network", one.GroupId ?? "", one.Tags, true)),
  ];
}

/** Everything with the installation's tag, in every configured region. It fails when one region fails. */
export async function listOwned(parts: Parts, installation: string): Promise<OwnedWork[]> {
  const regions = await Promise.all(
    parts.settings.regions.map(async (region) => [
      ...(await machines(parts, region, installation)),
      ...(await leftovers(parts, region, installation)),
    ]),
  );
  return regions.flat();
}

/** Removes a thing other than a machine; one that is no longer known is gone. */
async function removeThing(parts: Parts, region: string, id: string): Promise<TerminateResult> {
  const ec2 = parts.ec2(region);
  const remove: Record<string, () => Promise<unknown>> = {
    vol: () => ec2.send(new DeleteVolumeCommand({ VolumeId: id })),
    eni: () => ec2.send(new DeleteNetworkInterfaceCommand({ NetworkInterfaceId: id })),
    sir: () => ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] })),
    eipalloc: () => ec2.send(new ReleaseAddressCommand({ AllocationId: id })),
    sg: () => ec2.send(new DeleteSecurityGroupCommand({ GroupId: id })),
  };
  const send = remove[id.slice(0, id.indexOf("-"))];
  if (!send) throw parts.host.error("invalid", `${id} is not a resource of this provider.`);
  try {
    await parts.call(region, send);
    return { gone: true };
  } catch (error) {
    const code = codeOf(error) ?? "";
    if (/NotFound$/.test(code)) return { gone: true };
    // Its machine has not ended yet.
    if (/InUse$|DependencyViolation/.test(code)) return { gone: false, againAfterS: AGAIN_S };
    throw error;
  }
}

/** Ends the machines of a key in one region. @returns whether any is still there, and whether any was ever seen */
async function endIn(parts: Parts, region: string, key: string, named: string | null) {
  let found = await machinesOfKey(parts, region, key);
  // A machine may have lost its tags.
  if (found.length === 0 && named) found = await machinesIn(parts, region, [{ Name: "instance-id", Values: [named] }]);
  const present = found.filter((one) => PRESENT.includes(nameOf(one)));
  const ids = present.filter((one) => nameOf(one) !== "shutting-down").map(({ InstanceId = "" }) => InstanceId);
  await endMachines(parts, region, ids);
  return { present: present.length > 0, seen: found.length > 0 };
}

/** Removes what a handle names. A machine is found by its key in the region of the handle, or in all of them. */
export async function terminate(parts: Parts, handle: Handle): Promise<TerminateResult> {
  const region = typeof handle.region === "string" ? handle.region : null;
  if (region && typeof handle.id === "string") return removeThing(parts, region, handle.id);
  const named = typeof handle.instance === "string" ? handle.instance : null;
  const regions = region ? [region] : parts.settings.regions;
  const ended = await Promise.all(regions.map((one) => endIn(parts, one, handle.key, named)));
  const hidden = isYoung(parts, handle) && !ended.some(({ seen }) => seen);
  return hidden || ended.some(({ present }) => present) ? { gone: false, againAfterS: AGAIN_S } : { gone: true };
}
