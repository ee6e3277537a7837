/** A provider that rents whole machines: the API takes a script that the machine runs at its first boot. */
import type { LaunchContext, LaunchSpec, ProviderPlugin } from "../../src/contract/provider.ts";
import { type Boot, createProvider, variables } from "./provider.ts";

const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Runs the image, and ends the machine when the container exits or the deadline passes. Nobody else may be there to do
 * it: the timer is started first.
 */
function script(spec: LaunchSpec, context: LaunchContext, image: string): string {
  const lines = Object.entries(variables(spec, context)).map(
    ([name, value]) => `${name}=${value.replaceAll("\n", " ")}`,
  );
  return `#!/bin/sh
umask 077
left=$((${Math.ceil(context.deadline / 1000)} - $(date +%s)))
( sleep "$left"; poweroff -f ) &
cat > /run/ftl-env <<'FTL_ENV'
${lines.join("\n")}
FTL_ENV
docker pull ${quote(image)} || poweroff -f
docker run --name ftl --gpus all --ipc=host --env-file /run/ftl-env ${quote(image)}
poweroff -f
`;
}

const plugin: ProviderPlugin = {
  id: "my-provider",
  title: "My provider",
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
      help: "Image by digest, in a registry that the machines can read: REGISTRY/NAME@sha256:….",
      type: "string",
      required: false,
      default: "",
    },
  ],
  create(host, config) {
    const boot: Boot = (spec, context) => ({
      start_script: script(spec, context, spec.image || String(config.image)),
    });
    return createProvider(plugin.id, boot, host, config);
  },
};

export default plugin;
