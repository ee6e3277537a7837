/**
 * The default provider: runs the trainer as a detached process of this machine. The process survives a restart of the
 * server, which finds it again.
 */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createProcessProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "process",
  title: "This machine (processes)",
  contract: 2,
  kind: "process",
  capabilities: {
    logs: true,
    gpus: false,
    survivesServer: true,
    local: true,
    priced: false,
    spot: false,
    vendorDeadline: false,
    multiNode: false,
  },
  config: [
    {
      name: "log_bytes",
      label: "Log size",
      help: "Bytes of output to keep per process; older output is dropped.",
      type: "integer",
      required: false,
      default: 8 * 1024 * 1024,
    },
    {
      name: "nice",
      label: "Niceness of training",
      help: "0 to 19. A higher value leaves more CPU time to other processes, including the server.",
      type: "integer",
      required: false,
      default: 5,
    },
    {
      name: "warm_s",
      label: "Warm trainer",
      help: "Seconds that a trainer with loaded libraries (about 500 MB) waits for the next job, which then starts seconds earlier; 0 to disable.",
      type: "integer",
      required: false,
      default: 600,
    },
  ],
  create: createProcessProvider,
};

export default plugin;
