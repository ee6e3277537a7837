/** Runs containers on Docker engines: local ones without network, remote ones over TLS or SSH. */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createDockerProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "docker",
  title: "Docker",
  contract: 2,
  kind: "container",
  capabilities: {
    logs: true,
    gpus: true,
    survivesServer: true,
    local: true,
    priced: false,
    spot: false,
    vendorDeadline: false,
    multiNode: false,
  },
  config: [
    {
      name: "hosts",
      label: "Engines",
      help: "Addresses separated by spaces: unix:///var/run/docker.sock, tcp://HOST:2376?certs=DIR, ssh://USER@HOST?key=FILE&known_hosts=FILE; NAME= before an address gives it a name.",
      type: "string",
      required: false,
      default: "unix:///var/run/docker.sock",
    },
    {
      name: "image",
      label: "Trainer image",
      help: "Image for jobs without a pinned image: an id (sha256:…), digest or tag. Build it with `finetune-lab images build`.",
      type: "string",
      required: false,
      default: "finetune-lab/trainer",
    },
    {
      name: "user",
      label: "Container user",
      help: "UID:GID of trainers; neither can be 0.",
      type: "string",
      required: false,
      default: "1000:1000",
    },
    {
      name: "cpus",
      label: "CPU cores",
      help: "Maximum CPU cores per container; 0 for all cores of the machine.",
      type: "integer",
      required: false,
      default: 0,
    },
    {
      name: "pids",
      label: "Processes",
      help: "Maximum processes and threads per container, 64 to 65536.",
      type: "integer",
      required: false,
      default: 2048,
    },
    {
      name: "shm_mb",
      label: "Shared memory",
      help: "MB of /dev/shm; data loaders and NCCL need more than Docker's default of 64.",
      type: "integer",
      required: false,
      default: 1024,
    },
    {
      name: "log_mb",
      label: "Log size",
      help: "MB of output to keep per container; older output is dropped.",
      type: "integer",
      required: false,
      default: 20,
    },
    {
      name: "scratch_on_disk",
      label: "Scratch on disk",
      help: "Puts scratch in a volume with a size limit, not in memory. The engine's disk must be XFS mounted with pquota.",
      type: "boolean",
      required: false,
      default: false,
    },
    {
      name: "network",
      label: "Network",
      help: "Network of containers on remote hosts, which connect to the server over HTTPS. It is created when missing. Local containers have no network.",
      type: "string",
      required: false,
      default: "finetune-lab",
    },
  ],
  create: createDockerProvider,
};

export default plugin;
