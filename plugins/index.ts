/**
 * The explicit list of providers that come with Fine-Tune Lab. Each is loaded when it is used: the client of the Docker
 * Engine alone takes 40 MB of memory.
 */
import type { ProviderPlugin } from "../src/contract/provider.ts";

export const BUNDLED: Readonly<Record<string, () => Promise<ProviderPlugin>>> = {
  process: async () => (await import("./process/index.ts")).default,
  docker: async () => (await import("./docker/index.ts")).default,
  runpod: async () => (await import("./runpod/index.ts")).default,
  lambda: async () => (await import("./lambda/index.ts")).default,
  aws: async () => (await import("./aws/index.ts")).default,
};
