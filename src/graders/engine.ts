/**
 * Grades one sample. Pure except for two tools that are passed in: one asks models, one runs Python. Used by the
 * endpoint and by training.
 */
import { askCosine, NO_EMBEDDING_MODEL } from "./embedding.ts";
import { FormulaError, parseFormula } from "./formula.ts";
import { type Ask, askLabel, askScore, type Judgement } from "./judge.ts";
import { type Grade, type Grader, type MultiGrader, noErrors, partsOf, type SingleGrader } from "./model.ts";
import type { RunPython } from "./python.ts";
import { MAX_COMPARED, similarity } from "./similarity.ts";
import { Filling, type Sample, TemplateError } from "./template.ts";

/** The row and the model's output that are graded. */
interface Subject {
  item: Record<string, unknown>;
  sample: Sample;
}

export interface GraderTools {
  /** The model whose embeddings `cosine` compares; null = none is configured. */
  embeddingModel: string | null;
  ask: Ask;
  python: RunPython;
  signal: AbortSignal;
}

const gradeOf = (reward: number): Grade => ({
  reward,
  errors: noErrors(),
  messages: [],
  parts: {},
  usage: {},
  sampledModel: null,
});

/** A grade of 0 with its errors. */
function failed(errors: Partial<Grade["errors"]>, message: string): Grade {
  return { ...gradeOf(0), errors: { ...noErrors(), ...errors }, messages: [message] };
}

const CHECKS = {
  eq: (input: string, reference: string) => input === reference,
  ne: (input: string, reference: string) => input !== reference,
  like: (input: string, reference: string) => input.includes(reference),
  ilike: (input: string, reference: string) => input.toLowerCase().includes(reference.toLowerCase()),
};

function judged<T>(model: string, { value, fault, usage, model: sampled }: Judgement<T>, reward: (value: T) => number) {
  const asked = { usage: { [model]: usage }, sampledModel: sampled };
  if (value !== null) return { ...gradeOf(reward(value)), ...asked };
  const message = fault?.message ?? "";
  const errors = {
    model_grader_server_error: fault?.kind === "server",
    model_grader_server_error_details: fault?.kind === "server" ? message : null,
    model_grader_refusal_error: fault?.kind === "refusal",
    model_grader_parse_error: fault?.kind === "parse",
  };
  return { ...failed(errors, message), ...asked };
}

async function gradePython(source: string, { item, sample }: Subject, tools: GraderTools): Promise<Grade> {
  const verdict = await tools.python({ source, check: false, sample, item }, tools.signal);
  if ("reward" in verdict) return gradeOf(verdict.reward);
  if ("runtime" in verdict)
    return failed(
      { python_grader_runtime_error: true, python_grader_runtime_error_details: verdict.runtime },
      verdict.runtime,
    );
  const reason = "server" in verdict ? verdict.server : "The sandbox returned no result.";
  return failed({ python_grader_server_error: true, python_grader_server_error_type: reason }, reason);
}

async function gradeCosine(input: string, reference: string, tools: GraderTools): Promise<Grade> {
  const { embeddingModel: model, ask, signal } = tools;
  if (model === null) return failed({ other_error: true }, NO_EMBEDDING_MODEL);
  return judged(model, await askCosine(model, input, reference, ask, signal), (score) => score);
}

/** A sample that passes through a grader, or through all graders of a multi grader. */
interface Work extends Subject {
  filling: Filling;
}

async function gradeSingle(grader: SingleGrader, subject: Work, tools: GraderTools): Promise<Grade> {
  const text = (template: string) => subject.filling.fill(template);
  switch (grader.type) {
    case "string_check":
      return gradeOf(CHECKS[grader.operation](text(grader.input), text(grader.reference)) ? 1 : 0);
    case "text_similarity": {
      const [input, reference] = [text(grader.input), text(grader.reference)];
      const cut = [input, reference].map((each) => each.slice(0, MAX_COMPARED));
      const { evaluation_metric: metric } = grader;
      const grade =
        metric === "cosine"
          ? await gradeCosine(cut[0] ?? "", cut[1] ?? "", tools)
          : gradeOf(similarity(metric, cut[0] ?? "", cut[1] ?? ""));
      if (input.length > MAX_COMPARED || reference.length > MAX_COMPARED) {
        grade.errors.truncated_observation_error = true;
        grade.messages.push(`Only the first ${MAX_COMPARED} characters were compared.`);
      }
      return grade;
    }
    case "python":
      return gradePython(grader.source, subject, tools);
    case "score_model":
      return judged(grader.model, await askScore(grader, subject.filling, tools.ask, tools.signal), (score) => score);
    case "label_model":
      return judged(grader.model, await askLabel(grader, subject.filling, tools.ask, tools.signal), (label) =>
        grader.passing_labels.includes(label) ? 1 : 0,
      );
  }
}

async function gradeSafely(grader: SingleGrader, subject: Work, tools: GraderTools): Promise<Grade> {
  try {
    return await gradeSingle(grader, subject, tools);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const sample = error.kind === "sample";
    return failed({ sample_parse_error: sample, invalid_variable_error: !sample }, error.message);
  }
}

/** The union of two sets of errors: flags that are true in either, and the first details. */
function mergeErrors(all: Grade["errors"], one: Grade["errors"]): Grade["errors"] {
  const merged = Object.entries(all).map(([name, value]) => [name, value || one[name as keyof Grade["errors"]]]);
  return Object.fromEntries(merged) as unknown as Grade["errors"];
}

async function gradeMulti(grader: MultiGrader, parts: Record<string, SingleGrader>, subject: Work, tools: GraderTools) {
  const all = gradeOf(0);
  const names = Object.keys(parts);
  // One after the other: graders that ask the same model would only wait for each other.
  for (const name of names) {
    // Comparing long texts takes a while; other work of the server runs in between.
    await new Promise((resolve) => setImmediate(resolve));
    const grade = await gradeSafely(parts[name] as SingleGrader, subject, tools);
    all.parts[name] = grade.reward;
    all.errors = mergeErrors(all.errors, grade.errors);
    all.messages.push(...grade.messages.map((message) => `${name}: ${message}`));
    all.sampledModel = grade.sampledModel ?? all.sampledModel;
    for (const [model, used] of Object.entries(grade.usage)) {
      const sum = all.usage[model];
      all.usage[model] = sum
        ? {
            prompt_tokens: sum.prompt_tokens + used.prompt_tokens,
            completion_tokens: sum.completion_tokens + used.completion_tokens,
            total_tokens: sum.total_tokens + used.total_tokens,
            cached_tokens: sum.cached_tokens + used.cached_tokens,
          }
        : used;
    }
  }
  try {
    all.reward = parseFormula(grader.calculate_output, names)(all.parts);
  } catch (error) {
    if (!(error instanceof FormulaError)) throw error;
    all.errors.formula_parse_error = true;
    all.messages.push(`calculate_output: ${error.message}`);
  }
  return all;
}

/**
 * Grades one sample. Errors of the sample, of a model or of the grader's Python are in the grade, with a reward of 0. A
 * part of a multi grader that failed counts as 0 in its formula.
 * @throws AppError when there is no sandbox for Python, when too many graders wait, or when the caller exceeds a limit
 */
export function grade(grader: Grader, subject: Subject, tools: GraderTools): Promise<Grade> {
  const work = { ...subject, filling: new Filling(subject.item, subject.sample) };
  if (grader.type !== "multi") return gradeSafely(grader, work, tools);
  return gradeMulti(grader, partsOf(grader) ?? {}, work, tools);
}
