/** A training job as clients of other services see it: its metrics by step, and its runs in Weights & Biases. */
import type { Ctx } from "../../ctx.ts";
import { seconds } from "../../lib/request-fields.ts";
import type { JobRow } from "../jobs/model.ts";
import { readSeries } from "../metrics/service.ts";
import type { TrainRequest } from "../plan/request.ts";

export const COLUMNS = {
  train_loss: "train/loss",
  train_accuracy: "train/token_accuracy",
  valid_loss: "eval/loss",
  valid_mean_token_accuracy: "eval/token_accuracy",
} as const;
/** Longer runs are downsampled to this number of steps, keeping minima and maxima. */
const MAX_STEPS = 10_000;

export type Steps = [step: number, values: Map<string, number>][];

/** The values of each step from `from` on that has one, by the names of columns. */
export async function stepsOf(ctx: Ctx, jobId: string, from = 0): Promise<Steps> {
  const { series } = await readSeries(ctx, jobId, { keys: Object.values(COLUMNS), maxPoints: MAX_STEPS, from });
  const byStep = new Map<number, Map<string, number>>();
  for (const [column, key] of Object.entries(COLUMNS))
    for (const [step, value] of series[key]?.points ?? []) {
      if (value === null) continue;
      const line = byStep.get(step) ?? new Map<string, number>();
      byStep.set(step, line.set(column, value));
    }
  return [...byStep].sort(([a], [b]) => a - b);
}

interface Run {
  id: string;
  project: string;
  entity: string | undefined;
  name: string;
  tags: readonly string[];
  config: Record<string, unknown>;
  /** Unix seconds. */
  startedAt: number;
}

/** The runs of a job: one for each of its integrations. */
export function runsOf(row: JobRow): Run[] {
  const { integrations } = row.request as Partial<TrainRequest>;
  const config = {
    model: row.spec.base_model.id,
    ...(row.spec.kind === "train" ? { method: row.spec.method.type, ...row.spec.hyperparameters } : {}),
  };
  return (integrations ?? []).map(({ wandb }, n) => ({
    // Two integrations may name the same project.
    id: n === 0 ? row.id : `${row.id}-${n + 1}`,
    project: wandb.project,
    entity: wandb.entity ?? undefined,
    name: wandb.name ?? row.name,
    tags: wandb.tags ?? [],
    config,
    startedAt: seconds(row.startedAt ?? row.createdAt),
  }));
}
