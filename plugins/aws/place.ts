/** What a machine needs in its region: machine image, subnet and security group. */
import {
  CreateSecurityGroupCommand,
  DescribeImagesCommand,
  DescribeSecurityGroupsCommand,
  DescribeSubnetsCommand,
  DescribeVpcsCommand,
} from "@aws-sdk/client-ec2";
import { GetParameterCommand } from "@aws-sdk/client-ssm";
import { cached, type Parts, pages } from "./clients.ts";
import { codeOf } from "./errors.ts";
import { TAG, tagFilter } from "./machines.ts";

const HOUR_MS = 3_600_000;

/** The name of the security group, the same for every machine of the installation. */
const groupName = (installation: string) => `ftl-${installation}`;

interface Ami {
  id: string;
  /** Device of the root volume, such as `/dev/sda1`. */
  rootDevice: string;
  /** GB that the root volume must have at least. */
  minGb: number;
}

export interface Places {
  ami(region: string): Promise<Ami>;
  /** The configured subnet of a zone; undefined = the default VPC's. @throws `invalid` when none is in the zone */
  subnet(region: string, zone: string): Promise<{ id: string; vpc: string } | undefined>;
  /** Security groups for machines of a subnet. */
  groups(region: string, subnet: { vpc: string } | undefined): Promise<string[]>;
}

/** The AMI id of the setting: itself, or the value of the SSM parameter. */
export async function amiId(parts: Parts, region: string): Promise<string> {
  const { ami } = parts.settings;
  if (ami.startsWith("ami-")) return ami;
  const answer = await parts.call(region, () => parts.ssm(region).send(new GetParameterCommand({ Name: ami })));
  const id = answer.Parameter?.Value;
  if (!id)
    throw parts.host.error("invalid", `The parameter ${ami} has no value in ${region}.`, { reason: "image_missing" });
  return id;
}

async function findAmi(parts: Parts, region: string): Promise<Ami> {
  const id = await amiId(parts, region);
  const command = new DescribeImagesCommand({ ImageIds: [id] });
  const { Images = [] } = await parts.call(region, () => parts.ec2(region).send(command));
  const [image] = Images;
  if (!image)
    throw parts.host.error("invalid", `The machine image ${id} is missing in ${region}.`, { reason: "image_missing" });
  const rootDevice = image.RootDeviceName ?? "/dev/sda1";
  const root = image.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === rootDevice);
  return { id, rootDevice, minGb: root?.Ebs?.VolumeSize ?? 0 };
}

async function subnetsOf(parts: Parts, region: string): Promise<{ id: string; vpc: string; zone: string }[]> {
  const found = await pages(async (NextToken) => {
    // As a filter, because subnets of other regions would be an error.
    const command = new DescribeSubnetsCommand({
      Filters: [{ Name: "subnet-id", Values: parts.settings.subnets }],
      NextToken,
    });
    const answer = await parts.call(region, () => parts.ec2(region).send(command));
    return { items: answer.Subnets ?? [], token: answer.NextToken };
  });
  return found.map((one) => ({ id: one.SubnetId ?? "", vpc: one.VpcId ?? "", zone: one.AvailabilityZone ?? "" }));
}

async function defaultVpc(parts: Parts, region: string): Promise<string> {
  const command = new DescribeVpcsCommand({ Filters: [{ Name: "is-default", Values: ["true"] }] });
  const { Vpcs = [] } = await parts.call(region, () => parts.ec2(region).send(command));
  const id = Vpcs[0]?.VpcId;
  if (!id) throw parts.host.error("invalid", `${region} has no default VPC. Set subnet_ids to subnets of a VPC there.`);
  return id;
}

async function findGroup(parts: Parts, region: string, vpc: string): Promise<string | null> {
  const Filters = [
    tagFilter(TAG.installation, parts.host.installation),
    { Name: "vpc-id", Values: [vpc] },
    { Name: "group-name", Values: [groupName(parts.host.installation)] },
  ];
  const { SecurityGroups = [] } = await parts.call(region, () =>
    parts.ec2(region).send(new DescribeSecurityGroupsCommand({ Filters })),
  );
  return SecurityGroups[0]?.GroupId ?? null;
}

/** The installation's group in a VPC. It has no inbound rules: machines connect to the server, nobody to them. */
async function ensureGroup(parts: Parts, region: string, vpc: string): Promise<string> {
  const found = await findGroup(parts, region, vpc);
  if (found) return found;
  const command = new CreateSecurityGroupCommand({
    GroupName: groupName(parts.host.installation),
    Description: "Machines of Fine-Tune Lab. No inbound rules.",
    VpcId: vpc,
    TagSpecifications: [
      { ResourceType: "security-group", Tags: [{ Key: TAG.installation, Value: parts.host.installation }] },
    ],
  });
  try {
    const { GroupId } = await parts.call(region, () => parts.ec2(region).send(command));
    if (GroupId) return GroupId;
  } catch (error) {
    // Another launch was faster, or the answer to this request was lost.
    if (codeOf(error) !== "InvalidGroup.Duplicate" && codeOf(error) !== null) throw error;
    const made = await findGroup(parts, region, vpc);
    if (made) return made;
    throw error;
  }
  throw parts.host.error("transient", "AWS created a security group without an id.");
}

/** Looks these things up once an hour. */
export function createPlaces(parts: Parts): Places {
  const { settings, host } = parts;
  const vpcs = cached(host, HOUR_MS, (region) => defaultVpc(parts, region));
  const subnets = cached(host, HOUR_MS, (region) => subnetsOf(parts, region));
  const groups = cached(host, HOUR_MS, (name) => {
    const [region = "", vpc = ""] = name.split(" ");
    return host.inTurn(`aws group ${name}`, () => ensureGroup(parts, region, vpc));
  });
  return {
    ami: cached(host, HOUR_MS, (region) => findAmi(parts, region)),
    async subnet(region, zone) {
      if (settings.subnets.length === 0) return undefined;
      const found = (await subnets(region)).find((one) => one.zone === zone);
      if (!found) throw host.error("no_capacity", `None of the configured subnets is in ${zone}.`);
      return found;
    },
    async groups(region, subnet) {
      if (settings.securityGroups.length > 0) return settings.securityGroups;
      return [await groups(`${region} ${subnet?.vpc ?? (await vpcs(region))}`)];
    },
  };
}
