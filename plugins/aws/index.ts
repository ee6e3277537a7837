/** Rents GPU machines from Amazon EC2, on demand and as spot machines, and runs the trainer image on them. */
import type { Provider, ProviderPlugin } from "../../src/contract/provider.ts";
import { DEFAULT_AMI, DEFAULT_TYPES, readSettings } from "./settings.ts";

const plugin: ProviderPlugin = {
  id: "aws",
  title: "AWS",
  contract: 2,
  kind: "machine",
  capabilities: {
    logs: false,
    gpus: true,
    survivesServer: true,
    local: false,
    priced: true,
    spot: true,
    // EC2 has no deadline of its own: the machine's timer ends it, and the server's sweep.
    vendorDeadline: false,
    multiNode: false,
  },
  config: [
    {
      name: "access_key_id",
      label: "Access key ID",
      help: "Of an IAM user with the permissions in docs/aws.md. Not the key of the root user.",
      type: "string",
      required: true,
    },
    {
      name: "secret_access_key",
      label: "Secret access key",
      help: "Shown once by AWS when the access key is created.",
      type: "secret",
      required: true,
    },
    {
      name: "session_token",
      label: "Session token",
      help: "Only with temporary credentials. They stop working when AWS lets them expire.",
      type: "secret",
      required: false,
    },
    {
      name: "regions",
      label: "Regions",
      help: "Regions to rent in, such as us-east-1, eu-central-1. Left-over machines are searched in these regions only.",
      type: "list",
      required: true,
      default: "us-east-1",
    },
    {
      name: "instance_types",
      label: "Instance types",
      help: "Patterns of instance types to rent, such as g5.*, g6.xlarge. Only x86 machines with NVIDIA GPUs are used.",
      type: "list",
      required: false,
      default: DEFAULT_TYPES,
    },
    {
      name: "spot",
      label: "Spot machines",
      help: "Offers spot machines too. They cost less, and AWS may take them back with two minutes of notice.",
      type: "boolean",
      required: false,
      default: true,
    },
    {
      name: "image",
      label: "Trainer image",
      help: "Image that the machines pull, by digest: REGISTRY/NAME@sha256:…. They must reach its registry without login.",
      type: "string",
      required: true,
    },
    {
      name: "ami",
      label: "Machine image",
      help: "AMI id, or the name of an SSM parameter with one. It needs NVIDIA's driver, Docker and the container toolkit.",
      type: "string",
      required: false,
      default: DEFAULT_AMI,
    },
    {
      name: "disk_gb",
      label: "Disk",
      help: "GB of the root volume, deleted with its machine. Its price is part of the price of an offer.",
      type: "integer",
      required: false,
      default: 200,
    },
    {
      name: "subnet_ids",
      label: "Subnets",
      help: "Subnets with a way to the internet, one for each zone to use. Empty = the default VPC.",
      type: "list",
      required: false,
      default: "",
    },
    {
      name: "security_group_ids",
      label: "Security groups",
      help: "Groups of the machines. Empty = one group without inbound rules is created in each VPC.",
      type: "list",
      required: false,
      default: "",
    },
    {
      name: "endpoint",
      label: "Endpoint",
      help: "Address of another service that speaks the API of AWS, such as LocalStack. Empty = AWS.",
      type: "string",
      required: false,
      default: "",
    },
  ],
  create(host, config): Provider {
    const { settings, problems } = readSettings(config);
    let made: Promise<Provider> | null = null;
    // AWS's client is loaded when it is used first.
    const aws = () => {
      made ??= import("./provider.ts").then(({ createAws }) => createAws(host, settings));
      return made;
    };
    return {
      validate: async () => (problems.length > 0 ? { ok: false, problems } : { ok: true }),
      offers: async (need) => (await aws()).offers(need),
      launch: async (spec, offer, context) => (await aws()).launch(spec, offer, context),
      describe: async (handle) => (await aws()).describe(handle),
      terminate: async (handle, options) => (await aws()).terminate(handle, options),
      listOwned: async (installation) => (await aws()).listOwned(installation),
      inspect: async () => {
        const provider = await aws();
        if (!provider.inspect) throw host.error("fatal", "This provider cannot inspect its account.");
        return provider.inspect();
      },
    };
  },
};

export default plugin;
