/**
 * Graders that reward the answers of a training run: checked against models and rows before the launch, then run for
 * the trainer.
 */
import * as v from "valibot";
import type { FrozenGrader } from "../contract/spec.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { readRows } from "../data/datasets/rows.ts";
import { AppError } from "../errors.ts";
import { resolveChatModel } from "../models/tuned/service.ts";
import { type GraderTools, grade } from "./engine.ts";
import type { Ask, AskAs } from "./judge.ts";
import { type Grade, Grader } from "./model.ts";
import { pythonRunner, type RunPython } from "./python.ts";
import { PYTHON_LIMITS } from "./sandbox.ts";
import { sampleOf } from "./template.ts";
import { checkGrader, rowCheck } from "./validate.ts";

/** Rows of each split that a grader is checked on; failures on later rows are counted during training. */
const CHECKED_ROWS = 1000;
const PAGE = 200;

/** Samples graded at once for one job, so that no job occupies a whole model or all sandboxes. */
const AT_ONCE = 4;
/** Timeout of one request; samples not graded by then count as failed. Shorter than the trainer's own timeout. */
const REQUEST_MS = 10 * 60_000;
/** Timeout of Python in training: a grader that runs thousands of times has to be faster than one that runs once. */
const SECONDS = 20;

/** The grader of a spec. A frozen grader was checked when the job was created. */
const graderOf = (frozen: FrozenGrader): Grader => v.parse(Grader, frozen);

/**
 * Checks a grader, and its templates against the first rows of dataset versions.
 * @param versionIds the training data and the validation file; empty while the data is not known
 * @throws AppError with a `param` that begins with `grader`
 */
export async function checkTrainGrader(
  ctx: Ctx,
  actor: Actor,
  frozen: FrozenGrader,
  versionIds: readonly string[],
): Promise<void> {
  const grader = graderOf(frozen);
  const model = async (name: string) => {
    await resolveChatModel(ctx, actor, name);
  };
  await checkGrader(grader, { model, embeddingModel: ctx.config.embedding_model });
  const check = rowCheck(grader);
  for (const [n, versionId] of versionIds.entries())
    for (const split of ["train", "holdout"] as const) {
      let after = -1;
      for (let seen = 0; seen < CHECKED_ROWS; seen += PAGE) {
        const { rows } = await readRows(ctx, actor, versionId, { split, after, limit: PAGE });
        for (const row of rows as { id: number; item?: Record<string, unknown> }[]) {
          check(row.item ?? {}, n === 0 ? `row ${row.id}` : `row ${row.id} of the validation file`);
          after = row.id;
        }
        if (rows.length < PAGE) break;
      }
    }
}

/** Checks a grader whose templates are filled from items like `item`. @throws AppError with a `param` from `grader` */
export async function checkGraderOn(
  ctx: Ctx,
  actor: Actor,
  frozen: FrozenGrader,
  item: Record<string, unknown>,
): Promise<void> {
  const model = async (name: string) => {
    await resolveChatModel(ctx, actor, name);
  };
  const filledFrom = { item, sample: sampleOf("") };
  await checkGrader(graderOf(frozen), { model, embeddingModel: ctx.config.embedding_model, filledFrom });
}

/**
 * Compiles the source of a Python grader. @throws AppError `invalid_source`, `sandbox_unavailable`
 */
export async function compileTrainGrader(ctx: Ctx, actor: Actor, frozen: FrozenGrader): Promise<void> {
  const run = pythonRunner(ctx);
  const python = async (source: string) => {
    const verdict = await run(actor, { source, check: true, sample: null, item: {} }, ctx.signal);
    if ("runtime" in verdict) return verdict.runtime;
    if ("server" in verdict) throw new AppError("unavailable", "sandbox_failed", verdict.server);
    return null;
  };
  await checkGrader(graderOf(frozen), { model: async () => {}, embeddingModel: ctx.config.embedding_model, python });
}

/** A grade in the form that the trainer gets. `error`: why the grader failed; `again`: a retry may succeed. */
export interface Graded {
  reward: number;
  error: string | null;
  again?: boolean;
}

/**
 * Errors that are not a failure of the grader: an answer that lacks a field is worth 0, and a long text is truncated.
 */
const HARMLESS = new Set(["sample_parse_error", "truncated_observation_error"]);

function gradedOf({ reward, errors, messages }: Grade): Graded {
  const failed = Object.entries(errors).some(([name, value]) => value === true && !HARMLESS.has(name));
  if (!failed && Number.isFinite(reward)) return { reward, error: null };
  const again = errors.model_grader_server_error || errors.python_grader_server_error;
  const error = (messages[0] ?? "the grader returned no finite number").slice(0, 1000);
  return { reward: 0, error, ...(again ? { again } : {}) };
}

/**
 * Creates a function that grades answers of a training run on behalf of its owner: a few at a time, with a timeout.
 * @returns grades in the order of the samples. @throws AppError `graders_busy`, `sandbox_unavailable`, limits of the
 *   owner
 */
export function createGrading(ctx: Ctx, ask: AskAs, seconds = SECONDS) {
  const python = pythonRunner(ctx, { ...PYTHON_LIMITS, seconds });
  return async (
    actor: Actor,
    frozen: FrozenGrader,
    samples: readonly { item: Record<string, unknown>; output: string; tools?: unknown[] }[],
    signal: AbortSignal,
  ): Promise<Graded[]> => {
    const grader = graderOf(frozen);
    const deadline = AbortSignal.timeout(REQUEST_MS);
    // An error that stops one sample stops all of them: the trainer sends the whole request again.
    const stop = new AbortController();
    const tools: GraderTools = {
      embeddingModel: ctx.config.embedding_model,
      ask: (...rest: Parameters<Ask>) => ask(actor, ...rest),
      python: (...rest: Parameters<RunPython>) => python(actor, ...rest),
      signal: AbortSignal.any([signal, ctx.signal, deadline, stop.signal]),
    };
    const grades: Graded[] = [];
    let next = 0;
    const work = async () => {
      for (let at = next++; at < samples.length; at = next++) {
        const { item, output, tools: calls } = samples[at] as (typeof samples)[number];
        try {
          grades[at] = gradedOf(await grade(grader, { item, sample: sampleOf(output, calls) }, tools));
        } catch (error) {
          if (!deadline.aborted || signal.aborted) throw error;
          grades[at] = { reward: 0, error: `no grade within ${REQUEST_MS / 60_000} minutes` };
        }
      }
    };
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      return grades;
    } finally {
      stop.abort();
    }
  };
}

/** The grade of an answer to the first row of a version. */
export interface Tried {
  rowId: number;
  reward: number;
  error: string | null;
}

/**
 * Creates a function that tries a grader on an answer to the first training row, on behalf of the caller. @throws
 * AppError that names the grader's field
 */
export function createTrying(ctx: Ctx, ask: AskAs) {
  const grading = createGrading(ctx, ask);
  return async (
    actor: Actor,
    frozen: FrozenGrader,
    versionId: string,
    output: string,
    signal: AbortSignal,
  ): Promise<Tried | null> => {
    const { rows } = await readRows(ctx, actor, versionId, { split: "train", after: -1, limit: 1 });
    const [row] = rows as { id: number; item?: Record<string, unknown> }[];
    if (!row) return null;
    const [graded] = await grading(actor, frozen, [{ item: row.item ?? {}, output }], signal);
    return graded ? { rowId: row.id, reward: graded.reward, error: graded.error } : null;
  };
}
