/** The model card of a fine-tuned model: Markdown with the header that model hubs read, and how to load its files. */
import { type EvaluateResult, type TrainSpec, validationRows } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { DEFAULT_BASE_MODEL, findCatalogue } from "../../models/base/catalogue.ts";
import type { BaseModelRow } from "../../models/base/model.ts";
import { baseModelRef } from "../../models/base/service.ts";
import { licenseHeader } from "./hub-license.ts";
import type { Format } from "./model.ts";
import { factsOf } from "./passport.ts";

const percent = (value: number) => `${(value * 100).toFixed(1)}%`;

/** The rows of the card's table of settings. */
function settingsOf(spec: TrainSpec, step: number | null): [string, unknown][] {
  const { hyperparameters: h, method } = spec;
  return [
    ["Method", method.type],
    ["Steps", spec.schedule.total_steps],
    ["Batch size", h.batch_size],
    ["Learning rate", `${h.learning_rate}, ${h.scheduler}`],
    ["Max sequence length", `${h.max_length} tokens`],
    ["Precision", h.precision],
    ["Base model quantization", method.quantization ?? "none"],
    ["Adapter", JSON.stringify(method.adapter)],
    ["Seed", h.seed],
    ["Checkpoint", step === null ? "-" : `step ${step}`],
  ];
}

/** The card's section with the scores of both sides; empty without an evaluation. */
function scoresOf(result: EvaluateResult | null): string[] {
  if (!result?.tuned) return [];
  const { base, tuned } = result;
  return [
    "## Before and after",
    "",
    `On ${tuned.rows} validation rows:`,
    "",
    "| | base | fine-tuned |",
    "|---|---|---|",
    `| Exact match | ${percent(base.exact_match.mean)} | ${percent(tuned.exact_match.mean)} |`,
    `| Loss | ${base.loss.mean.toFixed(4)} | ${tuned.loss.mean.toFixed(4)} |`,
    "",
  ];
}

/** Where the base model's files come from, and what that means for others who load them. */
function originOf(row: BaseModelRow): string {
  const { hub } = baseModelRef(row);
  if (hub?.revision) return `The base model is ${hub.repo} at the commit ${hub.revision}.`;
  if (row.source === "package")
    return `The base model's files were converted from 4-bit weights in the Python package ${row.sourceRef} ${row.revision}. Those of ${hub?.repo ?? DEFAULT_BASE_MODEL} on the hub have more precise weights: answers may differ slightly.`;
  if (row.source === "tuned") return `The base model ${row.id} was itself fine-tuned and merged on this installation.`;
  const from = `The base model ${row.id} was imported from a directory`;
  return hub
    ? `${from} under the id of ${hub.repo}. Whether its files are those of the hub is not known.`
    : `${from} and has no known repository. To load the adapter, name the base model's directory: \`PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), DIRECTORY)\`.`;
}

/** How to load the files. @param format null: the files of the model itself */
function useOf(format: Format | null, whole: boolean, loadable: boolean): string[] {
  if (format?.startsWith("gguf-"))
    return ["A GGUF file for llama.cpp, Ollama and LM Studio. It holds the tokenizer and the chat template.", ""];
  const auto = format === null && !whole ? "AutoPeftModelForCausalLM" : "AutoModelForCausalLM";
  if (auto === "AutoPeftModelForCausalLM" && !loadable) return [];
  return [
    "```python",
    `from ${auto === "AutoModelForCausalLM" ? "transformers" : "peft"} import ${auto}`,
    "",
    `model = ${auto}.from_pretrained(DIRECTORY)`,
    "```",
    "",
  ];
}

/** The hub's word for how a model was derived from its base. */
const cardRelation = (format: Format | null, whole: boolean) =>
  format?.startsWith("gguf-") ? "quantized" : format === null && !whole ? "adapter" : "finetune";

/**
 * The model card of a fine-tuned model.
 * @param format of the files that it describes; null: the model's own, an adapter or a full model
 * @throws AppError `model_not_found`, `not_tuned`
 */
export async function cardOf(ctx: Ctx, actor: Actor, name: string, format: Format | null = null): Promise<string> {
  const { found, run, spec, point, result } = await factsOf(ctx, actor, name);
  const { method, dataset: data } = spec;
  const { license } = found.base;
  const repo = baseModelRef(found.base).hub?.repo;
  return [
    "---",
    ...licenseHeader(license, findCatalogue(found.base.id)?.licenseUrl ?? null),
    // Hubs link this name, so it has to be that of a repository.
    ...(repo ? [`base_model: ${repo}`, `base_model_relation: ${cardRelation(format, found.whole)}`] : []),
    `library_name: ${format === null && !found.whole ? "peft" : "transformers"}`,
    "pipeline_tag: text-generation",
    "tags:",
    "- fine-tune-lab",
    `- ${method.type}`,
    "---",
    "",
    `# ${found.id}`,
    "",
    `${spec.base_model.id} (revision ${spec.base_model.revision}), fine-tuned with ${method.type}.`,
    "",
    "## Use",
    "",
    ...useOf(format, found.whole, repo !== undefined),
    originOf(found.base),
    "",
    "## Data",
    "",
    `${data.train_rows} training rows, ${validationRows(spec)} validation rows${spec.validation ? " in a file of their own" : ""}. Content hash \`${data.hash}\`.`,
    "",
    "## Training",
    "",
    "| | |",
    "|---|---|",
    ...settingsOf(spec, point?.step ?? null).map(([key, value]) => `| ${key} | ${value} |`),
    "",
    ...scoresOf(result),
    "## License",
    "",
    `The license of the base model: ${license}.`,
    "",
    "## Provenance",
    "",
    `Job ${run.id} on the installation ${ctx.installation}. The signed provenance document has the full specification.`,
    "",
  ].join("\n");
}
