/**
 * The embedded default provider: runs the trainer as a detached process of this machine that outlives the server and is
 * found again.
 */
import type { ProviderPlugin } from "../../src/contract/provider.ts";
import { createProcessProvider } from "./provider.ts";

const plugin: ProviderPlugin = {
  id: "process",
  title: "This machine (processes)",
  contract: 1,
  kind: "process",
  capabilities: { logs: true, gpus: false, survivesServer: true, local: true },
  config: [
    {
      name: "log_bytes",
      label: "Log size",
      help: "Bytes of output kept of one process; older output is dropped.",
      type: "integer",
      required: false,
      default: 8 * 1024 * 1024,
    },
    {
      name: "nice",
      label: "Niceness of training",
      help: "0 to 19; higher leaves more of the processor to everything else, the server included.",
      type: "integer",
      required: false,
      default: 5,
    },
    {
      name: "warm_s",
      label: "Ready for the next job",
      help: "Seconds that a trainer with its libraries loaded (about 500 MB) waits for the next job, which then begins seconds earlier; 0 for none.",
      type: "integer",
      required: false,
      default: 600,
    },
  ],
  create: createProcessProvider,
};

export default plugin;
