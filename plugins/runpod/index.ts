/** Rents GPU pods from RunPod: REST v2 for everything but spot pods, which only its GraphQL API has. */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createRunpodProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "runpod",
  title: "RunPod",
  contract: 2,
  kind: "container",
  capabilities: {
    logs: false,
    gpus: true,
    survivesServer: true,
    local: false,
    priced: true,
    spot: true,
    // Only spot pods have one (terminateAfter); pods of REST v2 do not.
    vendorDeadline: false,
    multiNode: false,
  },
  config: [
    {
      name: "api_key",
      label: "API key",
      help: "From RunPod's console, Settings, API keys. It needs read and write access to pods (GraphQL and REST).",
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
      name: "cloud",
      label: "Cloud",
      help: "SECURE is RunPod's own data centers; COMMUNITY is machines of other people, who may see your data.",
      type: "string",
      required: false,
      default: "SECURE",
      options: ["SECURE", "COMMUNITY"],
    },
    {
      name: "regions",
      label: "Regions",
      help: "Data centers (EU-RO-1) and countries (FR) that may be used; empty for all.",
      type: "list",
      required: false,
      default: "",
    },
    {
      name: "disk_gb",
      label: "Disk",
      help: "GB of container disk, 20 to 2000. It is deleted with the pod.",
      type: "integer",
      required: false,
      default: 60,
    },
    {
      name: "spot",
      label: "Spot pods",
      help: "Also offers interruptible pods. RunPod may take them back at any time, with seconds of warning.",
      type: "boolean",
      required: false,
      default: false,
    },
    {
      name: "api_url",
      label: "Address of the API",
      help: "Change it only for a proxy in front of RunPod's API.",
      type: "string",
      required: false,
      default: "https://api.runpod.io",
    },
  ],
  create: createRunpodProvider,
};

export default plugin;
