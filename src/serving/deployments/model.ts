/** What the deployments room takes and gives. */
import * as v from "valibot";
import type { deployment } from "../../db/schema/deployments.ts";
import { filledName } from "../../lib/text/names.ts";

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

const seconds = (ms: number | null) => (ms === null ? null : Math.floor(ms / 1000));

export interface DeploymentView {
  object: "deployment";
  id: string;
  name: string;
  model: string;
  base_model: string;
  wanted: DeploymentRow["wanted"];
  state: DeploymentRow["state"];
  /** Made by a first request rather than by a click. */
  on_demand: boolean;
  /** null = never sleeps. */
  idle_after_s: number | null;
  restarts: number;
  error: string | null;
  job_id: string | null;
  active_requests: number;
  last_request_at: number | null;
  healthy_at: number | null;
  created_by: string;
  created_at: number;
}

/** A deployment as the API shows it; the engine's address stays inside. */
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
    created_at: Math.floor(row.createdAt / 1000),
  };
}

/** Where to send a request, and the name the engine knows the model by. */
export interface Serving {
  deploymentId: string;
  address: string;
  name: string;
  baseModelId: string;
}
