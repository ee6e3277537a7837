/**
 * Training jobs: from a request to a plan or a job, and from a validating job to a frozen spec.
 */
import { eq } from "drizzle-orm";
import { maxMicrosOf } from "../../billing/budgets/max-cost.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { getDataset } from "../../data/datasets/service.ts";
import { resolveTrainingData } from "../../data/datasets/training-data.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { checkTrainGrader, compileTrainGrader } from "../../graders/training.ts";
import { emitAll } from "../../lib/bus.ts";
import { installForRun, installProgress } from "../../models/base/for-runs.ts";
import type { JobRow } from "../jobs/model.ts";
import { placementOf, requireBurst } from "../jobs/placement.ts";
import { keptHere, keptHereMessage, requireHere } from "../jobs/stays-local.ts";
import { createJob, findRepeated, getJob, type RequestMarks } from "../jobs/store.ts";
import { finishJob, jobIn, move, note } from "../jobs/transitions.ts";
import { gatherFacts } from "./facts.ts";
import type { TrainPlan } from "./plan.ts";
import { price, toPlan } from "./price.ts";
import { parseTrainRequest, type TrainRequest } from "./request.ts";
import { resolve } from "./spec.ts";

/** How long a new job waits for its data before it is stored as `validating`; most files are ready by then. */
const DATA_WAIT_MS = 1500;

/**
 * Plans a run without starting it. Changes nothing.
 * @param options `offers`: whether providers are asked for offers; true by default
 * @throws AppError with `param`, the invalid field of the request
 */
export async function planTrainJob(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  { offers = true }: { offers?: boolean } = {},
): Promise<TrainPlan> {
  const facts = await gatherFacts(ctx, actor, request);
  const resolution = resolve(request, facts, { anyMemory: offers });
  const { method } = resolution.spec;
  const kept = await requireHere(ctx, ctx.db, resolution.spec);
  await requireBurst(ctx, actor.org, request);
  if (method.type === "grpo") {
    const versions = facts.ready ? [facts.data.id, ...(facts.validation ? [facts.validation.id] : [])] : [];
    await checkTrainGrader(ctx, actor, method.grader, versions);
  }
  const plan = toPlan(request, facts, resolution, await price(ctx, actor, request, facts, resolution, { offers }));
  return !kept.any ? plan : { ...plan, warnings: [...plan.warnings, keptHereMessage(kept)] };
}

/** The estimated duration of the run in seconds; null while the data is unknown. */
function estimateOf({ secondsRange }: TrainPlan): { estimateLowS: number | null; estimateHighS: number | null } {
  return { estimateLowS: secondsRange?.[0] ?? null, estimateHighS: secondsRange?.[1] ?? null };
}

/** Whether data of a request is still being validated. The plan reports other problems with it. */
async function isValidating(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<boolean> {
  for (const id of [request.training_file, request.validation_file]) {
    const version = id ? await resolveTrainingData(ctx, actor, id, "training_file").catch(() => null) : null;
    if (version?.status === "validating") return true;
  }
  return false;
}

/** Waits until the data of a request is validated, at most `DATA_WAIT_MS`. */
async function dataSettled(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<void> {
  let changed = Promise.withResolvers<"changed">();
  const off = ctx.bus.on("dataset.changed", ({ org }) => {
    if (org === actor.org) changed.resolve("changed");
  });
  const late = Bun.sleep(DATA_WAIT_MS).then(() => "late" as const);
  try {
    while (await isValidating(ctx, actor, request)) {
      if ((await Promise.race([changed.promise, late])) === "late") return;
      changed = Promise.withResolvers();
    }
  } finally {
    off();
  }
}

/** The name of a job without one: `smollm2-135m-instruct on tickets`. */
async function nameOf(ctx: Ctx, actor: Actor, { base_model, dataset }: TrainSpec): Promise<string> {
  const { name } = await getDataset(ctx, actor, dataset.dataset_id);
  return `${base_model.id} on ${name}`;
}

/**
 * Creates a training job. While its data is being validated or its base model installed, it stays in `validating`; its
 * spec is frozen afterwards.
 * @throws AppError with `param`, the invalid field of the request
 */
export async function createTrainJob(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  options: RequestMarks & { parentId?: string } = {},
): Promise<JobRow> {
  if (options.retried || options.idempotencyKey) {
    const before = await findRepeated(ctx, actor, options);
    if (before) return before;
  }
  await dataSettled(ctx, actor, request);
  const plan = await planTrainJob(ctx, actor, request, { offers: false });
  const { spec } = plan;
  if (spec.method.type === "grpo") await compileTrainGrader(ctx, actor, spec.method.grader);
  const { priority, not_before, window, deadline, burst } = request;
  const placement = placementOf(ctx, actor, { priority, not_before, window, deadline, burst });
  const installing = plan.waits ? await installForRun(ctx, actor, spec.base_model.id) : undefined;
  return createJob(ctx, actor, {
    ...options,
    kind: "train",
    name: request.name || request.suffix || (await nameOf(ctx, actor, spec)),
    spec,
    request: { ...request },
    metadata: request.metadata ?? {},
    place: { ...placement, ...estimateOf(plan) },
    maxMicros: maxMicrosOf(request.max_cost_usd),
    // A job that waits is planned again, and warned about, when it knows its data.
    warnings: plan.ready ? plan.warnings : [],
    validating: installing ?? (plan.ready ? undefined : "Validating the data"),
  });
}

/** Runs a training job again, with changes; fields set to null return to `auto`. */
export async function rerunJob(
  ctx: Ctx,
  actor: Actor,
  id: string,
  changes: Partial<TrainRequest> = {},
): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.kind !== "train") throw new AppError("invalid", "not_a_training_job", "Only training jobs can be run again.");
  // Start and deadline were for the first run, and a raised priority needs an administrator.
  const { not_before: _not_before, deadline: _deadline, priority, ...request } = row.request;
  const kept = actor.role === "admin" || (typeof priority === "number" && priority <= 0) ? { priority } : {};
  const again = parseTrainRequest({ ...request, ...kept, ...changes });
  return createTrainJob(ctx, actor, again, { parentId: row.id });
}

/**
 * The result of a validating job's request: its plan, or the error that fails it; a text while its base model is being
 * installed, null while the data is being validated.
 */
async function settledRequest(ctx: Ctx, row: JobRow): Promise<TrainPlan | AppError | string | null> {
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy };
  try {
    const request = parseTrainRequest(row.request);
    const installing = await installProgress(ctx, actor, request.model);
    if (installing) return installing;
    const plan = await planTrainJob(ctx, actor, request, { offers: false });
    return plan.ready ? plan : null;
  } catch (error) {
    // Other errors (a busy disk, a worker that died) do not concern the request: the next pass tries again.
    if (!(error instanceof AppError) || error.kind === "unavailable" || error.kind === "internal") throw error;
    return error;
  }
}

const DATA_CODES: Record<string, string> = {
  training_file: "invalid_training_file",
  validation_file: "invalid_validation_file",
};

const RETRY_INSTALL =
  "Run the job again to retry the installation. Without internet access, import the model from a local directory on the Models page, or set prepared_models.";

/** Shows on a validating job how far the install of its base model is; a line of its history for every tenth. */
async function showInstalling(ctx: Ctx, row: JobRow, waiting: string): Promise<void> {
  if (row.progress.waiting === waiting) return;
  const tenth = (text = "") => text.replace(/\d%$/, "");
  await ctx.write(async (tx) => {
    const now = await jobIn(tx, row.id);
    if (now?.state !== "validating") return;
    await tx
      .update(job)
      .set({ progress: { ...now.progress, waiting } })
      .where(eq(job.id, row.id));
    if (tenth(now.progress.waiting) !== tenth(waiting)) await note(tx, ctx, now, waiting);
  });
  ctx.bus.emit("job.progress", { org: row.org, jobId: row.id });
}

/** Freezes and queues a validating job once its data and base model are ready; fails it when one of them cannot be. */
export async function settleValidating(ctx: Ctx, row: JobRow): Promise<void> {
  const verdict = await settledRequest(ctx, row);
  if (!verdict) return;
  if (typeof verdict === "string") return showInstalling(ctx, row, verdict);
  const messages = await ctx.write(async (tx) => {
    const now = await jobIn(tx, row.id);
    if (now?.state !== "validating") return [];
    if (verdict instanceof AppError) {
      const { message, param } = verdict;
      const code = DATA_CODES[param ?? ""] ?? verdict.code;
      const advice = code === "model_not_installed" ? RETRY_INSTALL : null;
      const error = { code, message, advice, param, detail: null };
      return (await finishJob(tx, ctx, now, { state: "failed", error })) ?? [];
    }
    if (now.spec.kind !== "train") return [];
    const installing = now.spec.base_model.hash === "";
    // Clients already know the model id from the creation of the job; everything else is frozen now.
    const spec = { ...verdict.spec, output_model: now.spec.output_model };
    const kept = await keptHere(tx, spec, now);
    await tx
      .update(job)
      .set({ spec, progress: {}, ...estimateOf(verdict), staysLocal: now.staysLocal || kept.any })
      .where(eq(job.id, row.id));
    const message = await move(tx, ctx, now, "queued", { queuedAt: ctx.clock.now() });
    if (installing) await note(tx, ctx, now, `Base model ${spec.base_model.id} installed`);
    await note(tx, ctx, now, `Data validated: ${spec.dataset.train_rows} training rows; the job is queued`);
    for (const warning of verdict.warnings) await note(tx, ctx, now, warning, "warn");
    return message ? [message] : [];
  });
  emitAll(ctx.bus, messages);
}
