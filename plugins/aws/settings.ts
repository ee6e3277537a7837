/** The settings of the AWS provider, with problems by field. Nothing here reaches AWS. */
import { PINNED_IMAGE } from "../shared/rented.ts";
import { apiUrl, type FieldProblem, fieldProblems, listOf } from "../shared/vendor-settings.ts";

export interface Settings {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string | undefined;
  regions: string[];
  /** Patterns of instance types, with `*`. */
  types: string[];
  spot: boolean;
  /** Image of the trainer, with its digest. */
  image: string;
  /** AMI id, or name of an SSM parameter. */
  ami: string;
  diskGb: number;
  subnets: string[];
  securityGroups: string[];
  endpoint: string | undefined;
}

/** AWS's own image with driver, Docker and container toolkit; the parameter always names the newest one. */
export const DEFAULT_AMI = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id";
export const DEFAULT_TYPES = "g4dn.*, g5.*, g6.*, g6e.*, g7e.*, p4d.*, p4de.*, p5.*, p5e.*, p5en.*, p6-b200.*";

const REGION = /^[a-z]{2}(-[a-z]+)+-\d{1,2}$/;
const TYPE = /^[a-z0-9*][a-z0-9.*-]{0,40}$/;
const AMI = /^(ami-[0-9a-f]{8,32}|\/?[A-Za-z0-9_.-]+(\/[A-Za-z0-9_.-]+){0,15})$/;

/** Reads the configuration. The settings are valid only without problems. */
export function readSettings(config: Record<string, unknown>): { settings: Settings; problems: FieldProblem[] } {
  const text = (name: string) => String(config[name] ?? "").trim();
  const settings: Settings = {
    accessKeyId: text("access_key_id"),
    secretAccessKey: text("secret_access_key"),
    sessionToken: text("session_token") || undefined,
    regions: listOf(config.regions),
    types: listOf(config.instance_types || DEFAULT_TYPES),
    spot: config.spot !== false,
    image: text("image"),
    ami: text("ami") || DEFAULT_AMI,
    diskGb: Number(config.disk_gb ?? 200),
    subnets: listOf(config.subnet_ids),
    securityGroups: listOf(config.security_group_ids),
    endpoint: text("endpoint") || undefined,
  };
  const { problems, require: check } = fieldProblems();
  const all = (values: string[], pattern: RegExp) => values.every((value) => pattern.test(value));
  check(
    /^[A-Z0-9]{16,128}$/.test(settings.accessKeyId),
    "access_key_id",
    "This is not an access key ID.",
    "Copy it from IAM: 20 capital letters and digits, AKIA… or ASIA….",
  );
  check(
    /^[A-Za-z0-9/+=]{16,128}$/.test(settings.secretAccessKey),
    "secret_access_key",
    "This is not a secret access key.",
    "Copy it from IAM, or create a new access key: AWS shows the secret once.",
  );
  check(
    !settings.accessKeyId.startsWith("ASIA") || settings.sessionToken !== undefined,
    "session_token",
    "A key that begins with ASIA is temporary and needs its session token.",
    "Set session_token, or use the access key of an IAM user.",
  );
  check(
    settings.regions.length > 0 && all(settings.regions, REGION),
    "regions",
    "One of the regions is not a region.",
    "Use names such as us-east-1, separated by commas.",
  );
  check(
    settings.types.length > 0 && all(settings.types, TYPE),
    "instance_types",
    "One of the instance types is not a type or pattern.",
    "Use names such as g5.xlarge, or patterns such as g6.*.",
  );
  check(
    PINNED_IMAGE.test(settings.image),
    "image",
    "The image has no digest, so machines could run another one tomorrow.",
    "Use REGISTRY/NAME@sha256:…, as `docker inspect` shows it after a push.",
  );
  check(AMI.test(settings.ami), "ami", "This is neither an AMI id nor a parameter's name.", `Use ${DEFAULT_AMI}.`);
  check(
    Number.isInteger(settings.diskGb) && settings.diskGb >= 50 && settings.diskGb <= 16_000,
    "disk_gb",
    `disk_gb is ${String(config.disk_gb)}.`,
    "Set a whole number from 50 to 16000.",
  );
  check(
    all(settings.subnets, /^subnet-[0-9a-f]{8,32}$/),
    "subnet_ids",
    "One of these is not a subnet id.",
    "Use ids such as subnet-0123456789abcdef0.",
  );
  check(
    all(settings.securityGroups, /^sg-[0-9a-f]{8,32}$/),
    "security_group_ids",
    "One of these is not the id of a security group.",
    "Use ids such as sg-0123456789abcdef0.",
  );
  check(
    settings.endpoint === undefined || apiUrl(settings.endpoint) !== "",
    "endpoint",
    "This is not an address.",
    "Use HTTPS, or HTTP on this machine, such as http://localhost:4566. Leave it empty for AWS.",
  );
  return { settings, problems };
}
