/** Rents GPU machines from Lambda (Lambda Labs): Cloud API 1.10, on demand only. */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createLambdaProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "lambda",
  title: "Lambda",
  contract: 2,
  kind: "machine",
  capabilities: {
    logs: false,
    gpus: true,
    survivesServer: true,
    local: false,
    priced: true,
    spot: false,
    vendorDeadline: false,
    multiNode: false,
  },
  config: [
    {
      name: "api_key",
      label: "API key",
      help: "From the Lambda Cloud console, API keys. Lambda's keys have full access to the account.",
      type: "secret",
      required: true,
    },
    {
      name: "image",
      label: "Trainer image",
      help: "Published image of the trainer, pinned by digest: REGISTRY/NAME@sha256:…",
      type: "string",
      required: true,
    },
    {
      name: "regions",
      label: "Regions",
      help: "Regions that may be used, such as us-west-1, europe-central-1; empty for all.",
      type: "list",
      required: false,
      default: "",
    },
    {
      name: "ssh_key",
      label: "SSH key",
      help: "Name of an SSH key of the account that may sign in to the machines. Empty: a key that nobody has.",
      type: "string",
      required: false,
      default: "",
    },
    {
      name: "firewall",
      label: "Firewall ruleset",
      help: "Name of a firewall ruleset that every region in use has. Empty: the account's global rules alone.",
      type: "string",
      required: false,
      default: "",
    },
    {
      name: "api_url",
      label: "Address of the API",
      help: "Change it only for a proxy in front of Lambda's API.",
      type: "string",
      required: false,
      default: "https://cloud.lambda.ai",
    },
  ],
  create: createLambdaProvider,
};

export default plugin;
