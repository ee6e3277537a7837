/** Containers on Docker engines: of this machine without any network, of other machines over TLS or SSH. */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createDockerProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "docker",
  title: "Docker",
  contract: 1,
  kind: "container",
  capabilities: { logs: true, gpus: true, survivesServer: true, local: true },
  config: [
    {
      name: "hosts",
      label: "Engines",
      help: "Addresses parted by spaces: unix:///var/run/docker.sock, tcp://HOST:2376?certs=DIR, ssh://USER@HOST?key=FILE&known_hosts=FILE; NAME= before one names it.",
      type: "string",
      required: false,
      default: "unix:///var/run/docker.sock",
    },
    {
      name: "image",
      label: "Trainer image",
      help: "Image for jobs that name none, by id (sha256:…), digest or tag; `finetune-lab images build` makes one.",
      type: "string",
      required: false,
      default: "finetune-lab/trainer",
    },
    {
      name: "user",
      label: "User inside",
      help: "UID:GID that trainers run as; never 0.",
      type: "string",
      required: false,
      default: "1000:1000",
    },
    {
      name: "cpus",
      label: "Processors",
      help: "Most processors one container may use; 0 = all of its machine.",
      type: "integer",
      required: false,
      default: 0,
    },
    {
      name: "pids",
      label: "Processes",
      help: "Most processes and threads in one container, 64 to 65536.",
      type: "integer",
      required: false,
      default: 2048,
    },
    {
      name: "shm_mb",
      label: "Shared memory",
      help: "MB of /dev/shm; data loaders and NCCL need more than Docker's own 64.",
      type: "integer",
      required: false,
      default: 1024,
    },
    {
      name: "log_mb",
      label: "Log size",
      help: "MB of output kept of one container; older output is dropped.",
      type: "integer",
      required: false,
      default: 20,
    },
    {
      name: "scratch_on_disk",
      label: "Scratch on disk",
      help: "Keeps scratch in a volume with a size limit instead of memory; the engine's disk must be XFS mounted with pquota.",
      type: "boolean",
      required: false,
      default: false,
    },
    {
      name: "network",
      label: "Network",
      help: "Network for containers on other machines, which call home over HTTPS; made when missing. Local containers never have one.",
      type: "string",
      required: false,
      default: "finetune-lab",
    },
  ],
  create: createDockerProvider,
};

export default plugin;
