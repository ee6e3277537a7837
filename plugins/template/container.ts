/** A provider that runs a container image on rented GPUs: the API takes the image and its environment. */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { type Boot, createProvider, variables } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "my-provider",
  title: "My provider",
  contract: 2,
  kind: "container",
  capabilities: {
    logs: false,
    gpus: true,
    survivesServer: true,
    local: false,
    priced: true,
    spot: false,
    // This API ends a machine at `stop_at`.
    vendorDeadline: true,
    multiNode: false,
  },
  config: [
    {
      name: "api_url",
      label: "Address",
      help: "URL of the provider's API.",
      type: "string",
      required: true,
      default: "https://api.example.com/v1",
    },
    { name: "api_key", label: "API key", help: "From the provider's console.", type: "secret", required: true },
    {
      name: "image",
      label: "Trainer image",
      help: "Image by digest, in a registry that the provider can read: REGISTRY/NAME@sha256:….",
      type: "string",
      required: false,
      default: "",
    },
  ],
  create(host, config) {
    const boot: Boot = (spec, context) => ({
      image: spec.image || config.image,
      command: spec.argv,
      env: variables(spec, context),
      stop_at: context.deadline,
    });
    return createProvider(plugin.id, boot, host, config);
  },
};

export default plugin;
