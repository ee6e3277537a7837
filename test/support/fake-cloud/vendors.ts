/** The vendors of the fake cloud with the plugins that rent from them, for tests that run over all of them. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import lambda from "../../../plugins/lambda/index.ts";
import runpod from "../../../plugins/runpod/index.ts";
import type { ProviderPlugin } from "../../../src/contract/provider.ts";
import type { Dialect, Machine } from "./core.ts";
import { LAMBDA } from "./lambda.ts";
import { RUNPOD } from "./runpod.ts";

const IMAGE = `registry.example.com/finetune-lab/trainer@sha256:${"ab".repeat(32)}`;

interface VendorCase {
  plugin: ProviderPlugin;
  dialect: Dialect;
  /** Settings beside key and address. */
  config: Record<string, unknown>;
  /** File of the vendor's API description in test/fixtures/contracts. */
  description: "runpod-v2" | "lambda-1.10";
  /** Requests of a launch and its end beyond those of RunPod: keys, a look at the new machine, a second at its end. */
  moreCalls: number;
  /** What a booted machine runs in place of the trainer: the program of a conformance case, with its variables. */
  program(machine: Machine): { argv: string[]; env: Record<string, string> };
}

const placeOf = (id: string) => join(tmpdir(), "ftl-fake-machines", id);

/** The machine's own programs, for the script in its user data: `docker run` runs what the image would. */
const PROGRAMS = join(import.meta.dir, "machine-bin");

const argvOf = (env: Record<string, string>): string[] => JSON.parse(env.FTL_ARGV ?? '["true"]');

export const VENDORS: Record<string, VendorCase> = {
  runpod: {
    plugin: runpod,
    dialect: RUNPOD,
    config: { image: IMAGE },
    description: "runpod-v2",
    moreCalls: 0,
    program: ({ env }) => ({ argv: argvOf(env), env }),
  },
  lambda: {
    plugin: lambda,
    dialect: LAMBDA,
    config: { image: IMAGE },
    description: "lambda-1.10",
    moreCalls: 6,
    program: ({ userData, id }) => ({
      argv: ["sh", "-c", userData ?? ""],
      env: {
        PATH: `${PROGRAMS}:${process.env.PATH}`,
        FTL_BOOT_DIR: placeOf(id),
        FTL_DOCKER_CONFIG: join(placeOf(id), "daemon.json"),
      },
    }),
  },
};
