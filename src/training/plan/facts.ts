/**
 * Looks up everything a training request refers to or depends on: base model, data, GPUs, past runs and the trainer.
 */
import { availableParallelism } from "node:os";
import { eq } from "drizzle-orm";
import { gpuGroups } from "../../compute/hosts/gpu-groups.ts";
import { bf16Supported, memoryLimit, trainerIdentity } from "../../compute/providers/registry.ts";
import type { BaseModelRef, TrainerRef } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { resolveTrainingData } from "../../data/datasets/training-data.ts";
import { mayUse } from "../../data/privacy/policy.ts";
import type { VersionRow } from "../../data/validation/model.ts";
import type { TokenStats } from "../../data/validation/rows/report.ts";
import { organization } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { matrixModules } from "../../models/base/modules.ts";
import { baseModelRef } from "../../models/base/service.ts";
import { answerShares } from "./answer-tokens.ts";
import { type DataFacts, dataFactsOf, leftOut } from "./data-facts.ts";
import type { Facts } from "./defaults.ts";
import { type PastRun, pastRuns } from "./history.ts";
import { modelShape } from "./memory.ts";
import type { TrainRequest } from "./request.ts";
import { type StartingPoint, startingPointOf } from "./starting-point.ts";

/** The result of the lookup for a request. */
export interface TrainFacts {
  base: BaseModelRef;
  /** Layers of the base model; NaN when unknown. */
  layers: number;
  /** Modules of the base model that an adapter can be on; null when unknown, or when the request names none. */
  modules: string[] | null;
  from: StartingPoint["from"];
  /** Why the run has to wait for its base model; null when it is installed. */
  waits: StartingPoint["waits"];
  data: VersionRow;
  validation: VersionRow | null;
  /** False while data is being validated; its rows are unknown until then. */
  ready: boolean;
  /** What is known about the data before the start; null while it is being validated. */
  checks: DataFacts | null;
  /** The requested chat template, or that of the model that the run continues from. */
  chatTemplate: "default" | "tools";
  /** Whether the requested provider is configured here; true when the request names none. */
  providerKnown: boolean;
  past: readonly PastRun[];
  /** Input of the rules in docs/hyperparameters.md. */
  numbers: Facts;
  /** Id of the resulting model. */
  outputModel: string;
  trainer: TrainerRef;
}

/**
 * For `.catch`: attributes a lookup's error to a field of the request; something not found is an invalid value.
 */
const about = (field: keyof TrainRequest) => (error: unknown) => {
  if (!(error instanceof AppError)) throw error;
  throw error.withParam(field, error.kind === "not_found" ? "invalid" : error.kind);
};

async function slugOf(ctx: Ctx, org: string): Promise<string> {
  const [row] = await ctx.db.select({ slug: organization.slug }).from(organization).where(eq(organization.id, org));
  const slug = (row?.slug ?? org)
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|(?<!-)-+$/g, "");
  return slug || "org";
}

/**
 * Token counts of the `rows` training rows of a version; null while they are not counted.
 * @param whole every token of a row is in the loss, so that it is one sequence
 */
function tokensOf(stats: TokenStats | null, { trainRows }: VersionRow, rows: number, whole: boolean): Facts["tokens"] {
  if (!stats) return null;
  const { tokens, sequences, max, p95, over, exact, histogram } = stats;
  const counted = stats.rows - stats.failed_rows;
  const total = whole ? tokens : sequences.tokens;
  const perRow = whole || counted <= 0 ? 1 : sequences.count / counted;
  if (rows === trainRows || trainRows === 0) return { total, perRow, max, p95, over, exact, histogram };
  // Only the training split is counted. The other rows of the file were drawn from the same ones at random.
  const scaled = (count: number) => Math.round((count * rows) / trainRows);
  return {
    total: scaled(total),
    perRow,
    max,
    p95,
    over: Object.fromEntries(Object.entries(over).map(([length, count]) => [length, scaled(count)])),
    exact: false,
    histogram: histogram.map((bucket) => ({ ...bucket, count: scaled(bucket.count) })),
  };
}

/** Whether a run can start with a version: it is validated, and scanned where the team requires it. */
const usable = async (ctx: Ctx, version: VersionRow, field: keyof TrainRequest): Promise<boolean> =>
  version.status === "ready" && (await mayUse(ctx, version, field));

/** All rows of a version. */
const rowsIn = ({ trainRows, holdoutRows }: VersionRow): number => trainRows + holdoutRows;

/**
 * Looks everything up, without decisions or changes.
 * @throws AppError with `param`: `model`, `training_file` or `validation_file`
 */
export async function gatherFacts(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<TrainFacts> {
  const { base: row, waits, from } = await startingPointOf(ctx, actor, request.model).catch(about("model"));
  const data = await resolveTrainingData(ctx, actor, request.training_file, "training_file");
  const validation = request.validation_file
    ? await resolveTrainingData(ctx, actor, request.validation_file, "validation_file")
    : null;
  const ready =
    (await usable(ctx, data, "training_file")) && (!validation || (await usable(ctx, validation, "validation_file")));
  const base = baseModelRef(row);
  const past = await pastRuns(ctx, actor.org, base.id);
  const cards = await gpuGroups(ctx, request.provider ?? null);
  const { chat_template: asked } = request;
  const chatTemplate = (asked === "auto" ? null : asked) ?? from?.chatTemplate ?? "default";
  const of = { data, validation, base, chatTemplate };
  const checks = ready ? await dataFactsOf(ctx, actor, of) : null;
  // With a validation file nothing of the training file is withheld.
  const trainRows = (validation ? rowsIn(data) : data.trainRows) - leftOut(request, checks, validation !== null);
  const shares = ready && data.rowType !== "text" ? await answerShares(ctx, actor, data.id) : {};
  return {
    base,
    layers: Number(row.architecture?.layers),
    modules: Array.isArray(request.target_modules) && !waits ? await matrixModules(ctx, row.id) : null,
    from,
    waits,
    data,
    validation,
    ready,
    checks,
    chatTemplate,
    providerKnown: !request.provider || ctx.compute.get(request.provider) !== null,
    past,
    numbers: {
      ...(ready ? { rowType: data.rowType } : {}),
      ...(from ? { start: from.adapter } : {}),
      trainRows,
      holdoutRows: validation ? rowsIn(validation) : data.holdoutRows,
      ownValidation: validation !== null,
      tokens: tokensOf(checks?.stats ?? null, data, trainRows, request.loss_on === "all"),
      base: { ...modelShape(base.parameters, row.architecture), context_length: base.context_length },
      machine: {
        cpus: availableParallelism(),
        memoryMb: Math.floor(memoryLimit() / 2 ** 20),
        bf16: bf16Supported(ctx),
      },
      ...(cards.length ? { gpus: cards } : {}),
      ...shares,
      past,
    },
    outputModel: `ft:${base.id}:${await slugOf(ctx, actor.org)}:${request.suffix ?? ""}:${randomChars(6)}`,
    trainer: await trainerIdentity(ctx),
  };
}
