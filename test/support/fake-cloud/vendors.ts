/** The vendors of the fake cloud with the plugins that rent from them, for tests that run over all of them. */
import runpod from "../../../plugins/runpod/index.ts";
import type { ProviderPlugin } from "../../../src/contract/provider.ts";
import type { Dialect, Machine } from "./core.ts";
import { RUNPOD } from "./runpod.ts";

const IMAGE = `registry.example.com/finetune-lab/trainer@sha256:${"ab".repeat(32)}`;

interface VendorCase {
  plugin: ProviderPlugin;
  dialect: Dialect;
  /** Settings beside key and address. */
  config: Record<string, unknown>;
  /** File of the vendor's API description in test/fixtures/contracts. */
  description: "runpod-v2" | "lambda-1.10";
  /** What a booted machine runs in place of the trainer: the program of a conformance case, with its variables. */
  program(machine: Machine): { argv: string[]; env: Record<string, string> };
}

const argvOf = (env: Record<string, string>): string[] => JSON.parse(env.FTL_ARGV ?? '["true"]');

export const VENDORS: Record<string, VendorCase> = {
  runpod: {
    plugin: runpod,
    dialect: RUNPOD,
    config: { image: IMAGE },
    description: "runpod-v2",
    program: ({ env }) => ({ argv: argvOf(env), env }),
  },
};
