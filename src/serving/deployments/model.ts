/** Requests and answers of deployments. */
import * as v from "valibot";
import type { deployment } from "../../db/schema/deployments.ts";
import { seconds } from "../../lib/request-fields.ts";
import { filledName } from "../../lib/text/names.ts";
import { LogLines } from "../../training/metrics/model.ts";

export type DeploymentRow = typeof deployment.$inferSelect;

const Name = filledName(100);
/** Seconds without a request until the deployment sleeps; 0 = never. */
const IdleAfter = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(31_536_000));

export const CreateDeployment = v.strictObject({
  model: v.pipe(v.string(), v.minLength(1), v.maxLength(400)),
  name: v.optional(Name),
  idle_after_s: v.optional(IdleAfter),
});
export const UpdateDeployment = v.strictObject({ name: v.optional(Name), idle_after_s: v.optional(IdleAfter) });

/** A deployment as the API shows it. Times in seconds since 1970; the engine's address is not shown. */
export const DeploymentView = v.strictObject({
  object: v.literal("deployment"),
  id: v.string(),
  name: v.string(),
  model: v.string(),
  base_model: v.string(),
  wanted: v.picklist(["running", "asleep", "stopped"]),
  /** `checking`: moderation checks run before its first deployment, and requests are refused until they end. */
  state: v.picklist(["starting", "checking", "ready", "asleep", "stopping", "stopped", "failed"]),
  /** Created by a first request instead of a person. */
  on_demand: v.boolean(),
  /** null = never sleeps. */
  idle_after_s: v.nullable(v.number()),
  restarts: v.number(),
  error: v.nullable(v.string()),
  job_id: v.nullable(v.string()),
  active_requests: v.number(),
  last_request_at: v.nullable(v.number()),
  healthy_at: v.nullable(v.number()),
  created_by: v.string(),
  created_at: v.number(),
});
export type DeploymentView = v.InferOutput<typeof DeploymentView>;

/**
 * The view of a row.
 * @param active requests in flight
 * @param usedAt last request to this process, in milliseconds since 1970
 */
export function deploymentView(row: DeploymentRow, active: number, usedAt: number | null): DeploymentView {
  return {
    object: "deployment",
    id: row.id,
    name: row.name,
    model: row.model,
    base_model: row.baseModelId,
    wanted: row.wanted,
    state: row.state,
    on_demand: row.onDemand,
    idle_after_s: row.idleAfterS,
    restarts: row.restarts,
    error: row.error,
    job_id: row.jobId,
    active_requests: active,
    last_request_at: seconds(Math.max(row.lastRequestAt ?? 0, usedAt ?? 0) || null),
    healthy_at: seconds(row.healthyAt),
    created_by: row.createdBy,
    created_at: seconds(row.createdAt),
  };
}

/**
 * The log of a deployment's engine: the lines of its serve job, oldest first, and for an engine that ended the last
 * output of its process.
 */
export const DeploymentLogs = v.strictObject({
  ...LogLines.entries,
  /** Null before the first start. */
  job_id: v.nullable(v.string()),
  output: v.array(v.string()),
});
export type DeploymentLogs = v.InferOutput<typeof DeploymentLogs>;

/** Where to send a request, and the engine's name of the model. */
export interface Serving {
  deploymentId: string;
  address: string;
  name: string;
  baseModelId: string;
}
