/** Looks at the account: whose key it is, what it may do, and how many machines AWS allows. Starts nothing. */
import {
  CancelSpotInstanceRequestsCommand,
  CreateSecurityGroupCommand,
  CreateTagsCommand,
  DeleteNetworkInterfaceCommand,
  DeleteVolumeCommand,
  DescribeAddressesCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeNetworkInterfacesCommand,
  DescribeRegionsCommand,
  DescribeSecurityGroupsCommand,
  DescribeSpotInstanceRequestsCommand,
  DescribeSpotPriceHistoryCommand,
  DescribeSubnetsCommand,
  DescribeVolumesCommand,
  DescribeVpcsCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { GetServiceQuotaCommand } from "@aws-sdk/client-service-quotas";
import { GetCallerIdentityCommand } from "@aws-sdk/client-sts";
import type { AccountCheck, AccountReport } from "../../src/contract/provider.ts";
import type { Parts } from "./clients.ts";
import { codeOf } from "./errors.ts";
import { amiId } from "./place.ts";

/** Quotas in vCPUs that GPU machines need. New accounts often have 0. */
const QUOTAS: readonly (readonly [code: string, name: string, spot: boolean])[] = [
  ["L-DB2E81BA", "vCPUs of G and VT machines, on demand", false],
  ["L-417A185B", "vCPUs of P machines, on demand", false],
  ["L-3819A6DF", "vCPUs of G and VT machines, spot", true],
  ["L-7212CCBC", "vCPUs of P4, P3 and P2 machines, spot", true],
  ["L-C4BD4855", "vCPUs of P5 machines, spot", true],
];

/** An id that no resource has: AWS checks permissions first. */
const NOTHING = "00000000000000000";

const wordsOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** One permission, tried with DryRun, which changes nothing. */
async function permission(
  parts: Parts,
  region: string,
  name: string,
  send: () => Promise<unknown>,
): Promise<AccountCheck> {
  const check = (outcome: AccountCheck["outcome"], message: string) => ({ name, outcome, message });
  try {
    await parts.call(region, send);
    return check("passed", "Allowed.");
  } catch (error) {
    const code = codeOf(error);
    if (code === "DryRunOperation") return check("passed", "Allowed.");
    const kind = (error as { providerErrorKind?: string }).providerErrorKind;
    if (kind === "auth")
      return check("failed", `Not allowed (${code}). Add ${name} to the policy of the access key's user.`);
    // AWS looked further than the permission.
    if (kind === "invalid" || kind === "quota") return check("passed", `Allowed; AWS answered ${code}.`);
    return check("unknown", wordsOf(error));
  }
}

async function permissions(parts: Parts, region: string): Promise<AccountCheck[]> {
  const ec2 = parts.ec2(region);
  const dry = { DryRun: true };
  const launch = { ...dry, ImageId: "ami-00000000", InstanceType: "g4dn.xlarge", MinCount: 1, MaxCount: 1 } as const;
  const group = { ...dry, GroupName: "ftl-permission", Description: "Never created." };
  const tries: Record<string, () => Promise<unknown>> = {
    RunInstances: () => ec2.send(new RunInstancesCommand(launch)),
    TerminateInstances: () => ec2.send(new TerminateInstancesCommand({ ...dry, InstanceIds: [`i-${NOTHING}`] })),
    CreateTags: () =>
      ec2.send(new CreateTagsCommand({ ...dry, Resources: [`i-${NOTHING}`], Tags: [{ Key: "ftl:test", Value: "" }] })),
    DescribeInstances: () => ec2.send(new DescribeInstancesCommand(dry)),
    DescribeInstanceTypes: () => ec2.send(new DescribeInstanceTypesCommand({ ...dry, InstanceTypes: ["g4dn.xlarge"] })),
    DescribeInstanceTypeOfferings: () => ec2.send(new DescribeInstanceTypeOfferingsCommand(dry)),
    DescribeSpotPriceHistory: () =>
      ec2.send(new DescribeSpotPriceHistoryCommand({ ...dry, InstanceTypes: ["g4dn.xlarge"] })),
    DescribeImages: () => ec2.send(new DescribeImagesCommand({ ...dry, ImageIds: ["ami-00000000"] })),
    DescribeVpcs: () => ec2.send(new DescribeVpcsCommand(dry)),
    DescribeSubnets: () => ec2.send(new DescribeSubnetsCommand(dry)),
    DescribeSecurityGroups: () => ec2.send(new DescribeSecurityGroupsCommand(dry)),
    ...(parts.settings.securityGroups.length > 0
      ? {}
      : { CreateSecurityGroup: () => ec2.send(new CreateSecurityGroupCommand(group)) }),
    DescribeVolumes: () => ec2.send(new DescribeVolumesCommand(dry)),
    DeleteVolume: () => ec2.send(new DeleteVolumeCommand({ ...dry, VolumeId: `vol-${NOTHING}` })),
    DescribeNetworkInterfaces: () => ec2.send(new DescribeNetworkInterfacesCommand(dry)),
    DeleteNetworkInterface: () =>
      ec2.send(new DeleteNetworkInterfaceCommand({ ...dry, NetworkInterfaceId: `eni-${NOTHING}` })),
    DescribeSpotInstanceRequests: () => ec2.send(new DescribeSpotInstanceRequestsCommand(dry)),
    CancelSpotInstanceRequests: () =>
      ec2.send(new CancelSpotInstanceRequestsCommand({ ...dry, SpotInstanceRequestIds: [`sir-${NOTHING}`] })),
    DescribeAddresses: () => ec2.send(new DescribeAddressesCommand(dry)),
  };
  return Promise.all(Object.entries(tries).map(([name, send]) => permission(parts, region, `ec2:${name}`, send)));
}

/** A check that asks for something and says what came back. */
async function check(name: string, ask: () => Promise<string>, remedy: string): Promise<AccountCheck> {
  try {
    return { name, outcome: "passed", message: await ask() };
  } catch (error) {
    const kind = (error as { providerErrorKind?: string }).providerErrorKind;
    const outcome = kind === "transient" || kind === "rate_limited" ? "unknown" : "failed";
    return { name, outcome, message: `${wordsOf(error)} ${remedy}` };
  }
}

async function regionChecks(parts: Parts): Promise<AccountCheck[]> {
  const { regions } = parts.settings;
  const [first = ""] = regions;
  try {
    const command = new DescribeRegionsCommand({ AllRegions: true });
    const { Regions = [] } = await parts.call(first, () => parts.ec2(first).send(command));
    return regions.map((region): AccountCheck => {
      const found = Regions.find(({ RegionName }) => RegionName === region);
      const enabled = found !== undefined && found.OptInStatus !== "not-opted-in";
      return {
        name: `Region ${region}`,
        outcome: enabled ? "passed" : "failed",
        message: enabled ? "Enabled." : "Not enabled for this account. Enable it under Account, AWS Regions.",
      };
    });
  } catch (error) {
    return regions.map((region) => ({ name: `Region ${region}`, outcome: "unknown", message: wordsOf(error) }));
  }
}

/** A quota; its limit is null when this key may not ask for it, which does not mean zero. */
async function quota(parts: Parts, region: string, code: string, name: string) {
  try {
    const command = new GetServiceQuotaCommand({ ServiceCode: "ec2", QuotaCode: code });
    const { Quota } = await parts.call(region, () => parts.quotas(region).send(command));
    return { name, region, limit: Quota?.Value ?? null, used: null };
  } catch {
    return { name, region, limit: null, used: null };
  }
}

/** The report for the settings page. */
export async function inspect(parts: Parts): Promise<AccountReport> {
  const { regions, spot, ami } = parts.settings;
  const [first = ""] = regions;
  const identity = await check(
    "Access key",
    async () => {
      const answer = await parts.call(first, () => parts.sts().send(new GetCallerIdentityCommand({})));
      return `${answer.Arn ?? "An unnamed user"} of account ${answer.Account ?? "unknown"}.`;
    },
    "Create a new access key, and check that the user is not disabled.",
  );
  // Without a valid key every other check says the same.
  if (identity.outcome === "failed") return { checks: [identity], balanceUsd: null, quotas: [], regions: [] };
  const image = (region: string) =>
    check(
      `Machine image in ${region}`,
      async () => `${await amiId(parts, region)}.`,
      `Correct the setting ami (${ami}).`,
    );
  const asked = QUOTAS.filter((one) => spot || !one[2]);
  const [allowed, enabled, images, quotas] = await Promise.all([
    permissions(parts, first),
    regionChecks(parts),
    Promise.all(regions.map(image)),
    Promise.all(regions.flatMap((region) => asked.map(([code, name]) => quota(parts, region, code, name)))),
  ]);
  const usable = enabled.flatMap(({ outcome }, i) => (outcome === "failed" ? [] : [regions[i] ?? ""]));
  const none = quotas.filter(({ limit }) => limit === 0);
  const zero: AccountCheck[] = none.map(({ name, region }) => ({
    name: `Quota in ${region}`,
    outcome: "failed",
    message: `${name}: 0. Ask for more in Service Quotas, Amazon EC2.`,
  }));
  return { checks: [identity, ...allowed, ...enabled, ...images, ...zero], balanceUsd: null, quotas, regions: usable };
}
