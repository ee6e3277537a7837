/** The bundled providers of Fine-Tune Lab. */
import type { ProviderPlugin } from "../src/contract/provider.ts";
import dockerPlugin from "./docker/index.ts";
import processPlugin from "./process/index.ts";

export const BUNDLED: readonly ProviderPlugin[] = [processPlugin, dockerPlugin];
