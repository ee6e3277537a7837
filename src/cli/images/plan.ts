/** Plans of image builds: base, engine, and the program that checks the content. Pure. */
import type { Role } from "../../compute/images/service.ts";

/**
 * The version of vLLM that this program can start; `trainer/finetune_trainer/serving/vllm_command.py` is written for
 * it.
 */
export const VLLM_IMAGE = "vllm/vllm-openai:v0.33.0";

/** Base of the trainer's image, as in compose/Dockerfile.trainer. */
export const TRAINER_BASE = "python:3.12-slim-bookworm";

export const SERVING_ENGINES = ["transformers", "vllm"] as const;
type ServingEngine = (typeof SERVING_ENGINES)[number];

export interface BuildOptions {
  role: Role;
  torch: "cpu" | "cuda";
  /** Base image; null = see `baseName`. */
  base: string | null;
  wheels: string | null;
  index: string | null;
  /** Network of the build: `default`, `host`, or `none` with all wheels given. */
  network: string;
  /** Engine of an inference image; null = vLLM for GPUs, transformers for CPUs. */
  engine?: ServingEngine | null;
}

interface BuildPlan {
  tag: string;
  dockerfile: string;
  buildargs: Record<string, string>;
}

/** Engine of the image; null for a trainer's image. */
const servingEngine = ({ role, engine, torch }: BuildOptions): ServingEngine | null =>
  role === "inference" ? (engine ?? (torch === "cuda" ? "vllm" : "transformers")) : null;

/** The name of the base image of a build. */
export function baseName(options: BuildOptions): string {
  const engine = servingEngine(options);
  if (options.base) return options.base;
  return engine === "vllm" ? VLLM_IMAGE : engine ? `finetune-lab/trainer:${options.torch}` : TRAINER_BASE;
}

/** The build of an image. `version` identifies the trainer's sources. */
export function planBuild(options: BuildOptions, version: string): BuildPlan {
  const { role, torch } = options;
  const engine = servingEngine(options);
  const index = options.network === "none" ? "none" : options.index;
  return {
    tag: `finetune-lab/${role}:${torch}`,
    dockerfile: `compose/Dockerfile.${role}`,
    buildargs: {
      TORCH: torch,
      VERSION: version,
      ...(engine ? { ENGINE: engine } : {}),
      BASE: baseName(options),
      // Only the trainer's image installs packages.
      ...(index && role === "trainer" ? { INDEX: index } : {}),
    },
  };
}

const PACKAGES = {
  transformers: {
    modules: "finetune_trainer, torch, transformers, peft, trl",
    names: ["torch", "transformers", "peft", "trl"],
  },
  vllm: {
    modules: "vllm, torch, transformers, finetune_trainer.serving.vllm_engine",
    names: ["torch", "transformers", "vllm"],
  },
};

/**
 * A Python program that imports the required packages and prints their versions as one line of JSON. `engine` is the
 * label of the image; trainers have none.
 */
export function lookInsideProgram(engine: string | null): string {
  const { modules, names } = PACKAGES[engine === "vllm" ? "vllm" : "transformers"];
  return `import importlib.metadata, json, sys
import ${modules}
names = ${JSON.stringify(names)}
print(json.dumps({"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}))`;
}
