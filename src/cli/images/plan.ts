/**
 * What an image is built from and what it must hold: which base, which engine inside, and the look inside that proves
 * it. Pure.
 */
import type { Role } from "../../compute/images/service.ts";

/**
 * The one version of vLLM this program knows how to start; `trainer/finetune_trainer/serving/vllm_command.py` is
 * written for it.
 */
export const VLLM_IMAGE = "vllm/vllm-openai:v0.33.0";

/** What the trainer's image starts from; the same as in compose/Dockerfile.trainer. */
export const TRAINER_BASE = "python:3.12-slim-bookworm";

export const SERVING_ENGINES = ["transformers", "vllm"] as const;
type ServingEngine = (typeof SERVING_ENGINES)[number];

export interface BuildOptions {
  role: Role;
  torch: "cpu" | "cuda";
  /** Image to start from; null = as `baseName` says. */
  base: string | null;
  wheels: string | null;
  index: string | null;
  /** Network of the build: `default`, `host`, or `none` with all wheels given. */
  network: string;
  /** What answers requests in an inference image; null = vLLM for GPUs, transformers for processors. */
  engine?: ServingEngine | null;
}

interface BuildPlan {
  tag: string;
  dockerfile: string;
  buildargs: Record<string, string>;
}

/** What answers in the image of these options; null for a trainer's. */
const servingEngine = ({ role, engine, torch }: BuildOptions): ServingEngine | null =>
  role === "inference" ? (engine ?? (torch === "cuda" ? "vllm" : "transformers")) : null;

/** The image a build starts from, by the name it is known by. */
export function baseName(options: BuildOptions): string {
  const engine = servingEngine(options);
  if (options.base) return options.base;
  return engine === "vllm" ? VLLM_IMAGE : engine ? `finetune-lab/trainer:${options.torch}` : TRAINER_BASE;
}

/** The build of an image. `version` names the trainer's sources. */
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
 * A Python program that imports what an image must have and prints the versions as one line of JSON. `engine` is the
 * image's label; trainers have none.
 */
export function lookInsideProgram(engine: string | null): string {
  const { modules, names } = PACKAGES[engine === "vllm" ? "vllm" : "transformers"];
  return `import importlib.metadata, json, sys
import ${modules}
names = ${JSON.stringify(names)}
print(json.dumps({"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}))`;
}
