/**
 * Checks of a grader beyond its schema: templates, formulas, names, models and metrics. Every error names the path of
 * its field.
 */
import { AppError } from "../errors.ts";
import { NO_EMBEDDING_MODEL } from "./embedding.ts";
import { FormulaError, isUsableName, parseFormula } from "./formula.ts";
import { type Grader, type GraderMessage, MAX_GRADERS, partsOf, type SingleGrader } from "./model.ts";
import { Filling, parseTemplate, type Sample, sampleOf, TemplateError } from "./template.ts";

function invalid(code: string, message: string, param: string): AppError {
  return new AppError("invalid", code, message, { param });
}

/** Every text with templates in a message, with the path of its field. */
function* textsOfMessage({ content }: GraderMessage, path: string): Generator<[string, string]> {
  const parts = Array.isArray(content) ? content : [content];
  for (const [n, part] of parts.entries()) {
    const at = Array.isArray(content) ? `${path}.content.${n}` : `${path}.content`;
    if (typeof part === "string") yield [at, part];
    else if ("text" in part && part.type !== "input_image" && part.type !== "input_audio")
      yield [`${at}.text`, String(part.text)];
    else
      throw invalid(
        "unsupported_content",
        `Graders of this installation send only text; ${part.type} is not supported.`,
        `${at}.type`,
      );
  }
}

/** Every text with templates in a grader, with the path of its field. @throws AppError for images and audio */
function* textsOf(grader: SingleGrader, path: string): Generator<[string, string]> {
  if (grader.type === "string_check" || grader.type === "text_similarity") {
    yield [`${path}.input`, grader.input];
    yield [`${path}.reference`, grader.reference];
  } else if (grader.type !== "python")
    for (const [n, message] of grader.input.entries()) yield* textsOfMessage(message, `${path}.input.${n}`);
}

function checkLabels(labels: string[], passing: string[], path: string): void {
  if (new Set(labels).size !== labels.length)
    throw invalid("invalid_value", "Every label must be unique.", `${path}.labels`);
  const foreign = passing.findIndex((label) => !labels.includes(label));
  if (foreign >= 0)
    throw invalid(
      "invalid_value",
      `"${passing[foreign]?.slice(0, 100)}" is not one of the labels.`,
      `${path}.passing_labels.${foreign}`,
    );
}

/** Checks that need the installation. */
interface Checks {
  /** Throws unless the caller may chat with the model. */
  model: (name: string) => Promise<void>;
  /** The model whose embeddings `cosine` compares; null = none is configured. */
  embeddingModel: string | null;
  /** Why Python cannot compile a source; null when it can. Absent when the source is about to run anyway. */
  python?: (source: string) => Promise<string | null>;
  /** The row and sample that fill the templates, when they are known. */
  filledFrom?: { item: Record<string, unknown>; sample: Sample };
}

async function checkSingle(grader: SingleGrader, path: string, checks: Checks, filling: Filling | null): Promise<void> {
  for (const [param, text] of textsOf(grader, path)) {
    try {
      const template = parseTemplate(text);
      filling?.check(template);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      throw invalid("invalid_template", `Invalid template in '${param}': ${error.message}.`, param);
    }
  }
  if (grader.type === "text_similarity" && grader.evaluation_metric === "cosine") {
    const { embeddingModel } = checks;
    if (embeddingModel === null) throw invalid("unsupported_metric", NO_EMBEDDING_MODEL, `${path}.evaluation_metric`);
    await checkModel(checks, embeddingModel, `${path}.evaluation_metric`);
  }
  if (grader.type === "python") {
    const problem = await checks.python?.(grader.source);
    if (problem) throw invalid("invalid_source", `Python cannot compile the source: ${problem}`, `${path}.source`);
  }
  if (grader.type === "label_model") checkLabels(grader.labels, grader.passing_labels, path);
  if (grader.type === "score_model" || grader.type === "label_model")
    await checkModel(checks, grader.model, `${path}.model`);
}

async function checkModel(checks: Checks, name: string, param: string): Promise<void> {
  try {
    await checks.model(name);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw error.withParam(param, error.kind === "forbidden" ? error.kind : "invalid");
  }
}

/** Checks a grader. @throws AppError with the path of the field, from `grader`, in `param` */
export async function checkGrader(grader: Grader, checks: Checks): Promise<void> {
  const { filledFrom } = checks;
  const filling = filledFrom ? new Filling(filledFrom.item, filledFrom.sample) : null;
  if (grader.type !== "multi") return checkSingle(grader, "grader", checks, filling);
  const parts = partsOf(grader) ?? {};
  const names = Object.keys(parts);
  if (names.length === 0 || names.length > MAX_GRADERS)
    throw invalid("invalid_value", `A multi grader must have 1 to ${MAX_GRADERS} graders.`, "grader.graders");
  for (const name of names)
    if (!isUsableName(name))
      throw invalid(
        "invalid_name",
        `calculate_output cannot use the name "${name.slice(0, 100)}": use letters, digits and _, no leading digit, and not the name of a function.`,
        `grader.graders.${name.slice(0, 100)}`,
      );
  try {
    parseFormula(grader.calculate_output, names);
  } catch (error) {
    if (!(error instanceof FormulaError)) throw error;
    throw invalid("invalid_formula", `calculate_output: ${error.message}.`, "grader.calculate_output");
  }
  for (const name of names)
    await checkSingle(
      parts[name] as SingleGrader,
      grader.graders === parts ? `grader.graders.${name}` : "grader.graders",
      checks,
      filling,
    );
}

/**
 * Creates a check of rows against the templates of a grader. It throws for a row that lacks a field or makes a text too
 * long.
 * @throws AppError that names the field of the grader
 */
export function rowCheck(grader: Grader): (item: Record<string, unknown>, where: string) => void {
  const parts = grader.type === "multi" ? (partsOf(grader) ?? {}) : {};
  const singles: [string, SingleGrader][] =
    grader.type === "multi"
      ? Object.entries(parts).map(([name, part]) => [`grader.graders.${name}`, part])
      : [["grader", grader]];
  const templates = singles.flatMap(([path, single]) =>
    [...textsOf(single, path)].map(([param, text]) => ({ param, template: parseTemplate(text) })),
  );
  return (item, where) => {
    const filling = new Filling(item, sampleOf(""));
    for (const { param, template } of templates) {
      try {
        filling.check(template);
      } catch (error) {
        if (!(error instanceof TemplateError)) throw error;
        const code = error.kind === "size" ? "invalid_template" : "missing_grader_field";
        throw invalid(code, `The grader cannot be used on ${where}: ${error.message}.`, param);
      }
    }
  };
}
