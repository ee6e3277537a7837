/** Training jobs: from a request to a plan or a job, and the moment a waiting job's data is ready and its spec is frozen. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { type Actor, type Ctx, systemActor } from "../ctx.ts";
import { job } from "../db/schema/jobs.ts";
import { AppError } from "../errors.ts";
import { compileTrainGrader } from "../graders/service.ts";
import { emitAll } from "../lib/bus.ts";
import { createJob, findRepeated, getJob, type NewJob, type RequestMarks } from "./create.ts";
import { type JobRow, type TrainPlan, TrainRequest } from "./model.ts";
import type { QueueChange } from "./queue-model.ts";
import { wishesOf } from "./queue-wishes.ts";
import { buildTrainSpec } from "./spec.ts";
import { finishJob, jobIn, move, note } from "./transitions.ts";

/** How long a new job waits for its data before it is stored as `validating`: most files are ready by then. */
const DATA_WAIT_MS = 1500;

/** What surrounds a request: how it may be recognised again, and what its fields are called by the caller's client. */
export interface TrainOptions extends RequestMarks {
  parentId?: string;
  /** Name of a request field in the caller's own request; the field itself when missing. */
  paramOf?: (field: string) => string;
  /** Of a plan: whether providers are asked what they offer; they are unless this is false. */
  offers?: boolean;
}

/**
 * Checks a request that did not come through a schema yet (a page's form, a stored request with changes).
 * @throws AppError `invalid_value` naming the field
 */
export function parseTrainRequest(value: unknown, paramOf: (field: string) => string = (field) => field): TrainRequest {
  const parsed = v.safeParse(TrainRequest, value);
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const path = v.getDotPath(issue) ?? "";
  const [field = "", ...rest] = path.split(".");
  const param = [paramOf(field), ...rest].join(".");
  throw new AppError("invalid", "invalid_value", `Invalid '${param}': ${plainMessage(issue)}.`, {
    param: param || null,
  });
}

/** The message of a union is about its last part that fits in kind: "must be at least 1" rather than "expected (…)". */
function plainMessage(issue: v.BaseIssue<unknown>): string {
  const inner = issue.issues?.find((one) => one.kind === "validation") ?? issue.issues?.at(-1);
  if (inner) return plainMessage(inner);
  if (issue.type === "strict_object") return "this field is unknown";
  return issue.message.replace(/\.$/, "");
}

/** `work` with the `param` of its errors in the caller's words. */
async function renamed<T>(options: TrainOptions, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AppError) || !error.param || !options.paramOf) throw error;
    const { kind, code, message, cause } = error;
    throw new AppError(kind, code, message, { param: options.paramOf(error.param), cause });
  }
}

/** Everything a run would do and need, before anything starts. Changes nothing. */
export function planTrainJob(ctx: Ctx, actor: Actor, request: unknown, options: TrainOptions = {}): Promise<TrainPlan> {
  return renamed(options, () =>
    buildTrainSpec(ctx, actor, parseTrainRequest(request, options.paramOf), { offers: options.offers !== false }),
  );
}

/** What of a request is about the queue. */
function placeOf({ priority, not_before, window, deadline }: TrainRequest): QueueChange {
  return { priority, not_before, window, deadline };
}

/** How long the run should take, at least and at most; nothing while the data is not known. */
function estimateOf({ secondsRange }: TrainPlan): { estimateLowS: number | null; estimateHighS: number | null } {
  return { estimateLowS: secondsRange?.[0] ?? null, estimateHighS: secondsRange?.[1] ?? null };
}

/** Waits a moment for data that is being validated. */
async function settled(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<TrainPlan> {
  const end = ctx.clock.monotonic() + DATA_WAIT_MS;
  for (;;) {
    const plan = await buildTrainSpec(ctx, actor, request);
    if (plan.ready || ctx.clock.monotonic() > end) return plan;
    await Bun.sleep(50);
  }
}

/**
 * Makes a training job. While its data is being validated it waits in `validating` and is frozen once that is done.
 * @throws AppError with `param` in the caller's words
 */
export async function createTrainJob(
  ctx: Ctx,
  actor: Actor,
  value: unknown,
  options: TrainOptions = {},
): Promise<JobRow> {
  const request = parseTrainRequest(value, options.paramOf);
  const given = (plan: TrainPlan): NewJob => ({
    kind: "train",
    name: request.name || request.suffix || `${plan.spec.base_model.id} on ${plan.spec.dataset.dataset_id}`,
    spec: plan.spec,
    request: { ...request },
    metadata: request.metadata ?? {},
    place: { ...wishesOf(ctx, actor, placeOf(request)), ...estimateOf(plan) },
    validating: !plan.ready,
    parentId: options.parentId,
    requestHash: options.requestHash,
    retried: options.retried,
    idempotencyKey: options.idempotencyKey,
  });
  return renamed(options, async () => {
    if (options.retried || options.idempotencyKey) {
      const before = await findRepeated(ctx, actor, options);
      if (before) return before;
    }
    const plan = await settled(ctx, actor, request);
    if (plan.spec.method.type === "grpo") await compileTrainGrader(ctx, plan.spec.method.grader);
    return createJob(ctx, actor, given(plan));
  });
}

/** Runs a training job again, with changes; fields set to null go back to `auto`. */
export async function rerunJob(
  ctx: Ctx,
  actor: Actor,
  id: string,
  changes: Record<string, unknown> = {},
): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.kind !== "train") throw new AppError("invalid", "not_a_training_job", "Only training jobs can be run again.");
  // Moments that were meant for the first run, and a priority that somebody else gave, are not for this one.
  const { not_before: _not_before, deadline: _deadline, priority, ...request } = row.request;
  const kept = actor.role === "admin" || (typeof priority === "number" && priority <= 0) ? { priority } : {};
  return createTrainJob(ctx, actor, { ...request, ...kept, ...changes }, { parentId: row.id });
}

/** A job whose data was being validated: frozen and queued when that is done, failed when the data is bad. */
export async function settleValidating(ctx: Ctx, row: JobRow): Promise<void> {
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy };
  let plan: TrainPlan | null = null;
  let problem: AppError | null = null;
  try {
    plan = await buildTrainSpec(ctx, actor, parseTrainRequest(row.request));
    if (!plan.ready) return;
  } catch (error) {
    // Anything but a verdict on the request (a busy disk, a worker that died) is tried again with the next look.
    if (!(error instanceof AppError) || error.kind === "unavailable" || error.kind === "internal") throw error;
    problem = error;
  }
  const messages = await ctx.write(async (tx) => {
    const now = await jobIn(tx, row.id);
    if (now?.state !== "validating") return [];
    if (problem) {
      const { message, param } = problem;
      const code =
        param === "validation_file"
          ? "invalid_validation_file"
          : param === "training_file"
            ? "invalid_training_file"
            : problem.code;
      const error = { code, message, advice: null, param, detail: null };
      return (await finishJob(tx, ctx, now, { state: "failed", error })) ?? [];
    }
    if (!plan || now.spec.kind !== "train") return [];
    // The model id was told when the job was made; everything else is frozen now.
    const spec = { ...plan.spec, output_model: now.spec.output_model };
    await tx
      .update(job)
      .set({ spec, ...estimateOf(plan) })
      .where(eq(job.id, row.id));
    const message = await move(tx, now, "queued", { queuedAt: ctx.clock.now() });
    await note(tx, ctx, now, `Data validated: ${spec.dataset.train_rows} training rows; the job is queued`);
    return message ? [message] : [];
  });
  emitAll(ctx.bus, messages);
}
