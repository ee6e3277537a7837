/** How long a run will take: from the speed of finished runs of this installation, or a measured default. */
import { and, desc, eq, sql } from "drizzle-orm";
import type { TrainSpec } from "../contract/spec.ts";
import type { Ctx } from "../ctx.ts";
import { job } from "../db/schema/jobs.ts";

/** Measured on two cores: a model of 134.5M parameters trains 141 tokens/s in float32, 208 in bfloat16 with native support. */
const MEASURED = { parameters: 134.5e6, cpus: 2, float32: 141, bfloat16: 208 };
/** Seconds before the first step: interpreter, libraries, model. */
const START_S = 15;
/** Evaluation, samples and checkpoints on top of the steps. */
const OVERHEAD = 1.2;

export interface Speed {
  /** Tokens trained in a second. */
  tokensPerSecond: number;
  /** `history` when finished runs of the same base model and precision were found. */
  basis: "history" | "default";
}

/** Speed to expect of training `baseModel` here. */
export async function expectedSpeed(
  ctx: Ctx,
  org: string,
  base: { id: string; parameters: number },
  precision: "float32" | "bfloat16",
  cpus: number,
): Promise<Speed> {
  const rows = await ctx.db
    .select({ speed: sql<number | null>`json_extract(${job.progress}, '$.tokens_per_second')` })
    .from(job)
    .where(
      and(
        eq(job.org, org),
        eq(job.kind, "train"),
        eq(job.state, "succeeded"),
        sql`json_extract(${job.spec}, '$.base_model.id') = ${base.id}`,
        sql`json_extract(${job.spec}, '$.hyperparameters.precision') = ${precision}`,
      ),
    )
    .orderBy(desc(job.createdAt))
    .limit(5);
  const speeds = rows
    .map((row) => row.speed)
    .filter((speed): speed is number => typeof speed === "number" && speed > 0)
    .sort((a, b) => a - b);
  const median = speeds[Math.floor(speeds.length / 2)];
  if (median !== undefined) return { tokensPerSecond: median, basis: "history" };
  const scale = (MEASURED.parameters / Math.max(1, base.parameters)) * (Math.max(1, cpus) / MEASURED.cpus);
  return { tokensPerSecond: MEASURED[precision] * scale, basis: "default" };
}

/** Tokens a run goes through; null while the rows are not counted. */
export function totalTokens(spec: TrainSpec, tokensPerEpoch: number | null): number | null {
  if (tokensPerEpoch === null) return null;
  const rowsSeen = Math.min(
    spec.schedule.total_steps * spec.hyperparameters.batch_size,
    spec.dataset.train_rows * spec.hyperparameters.n_epochs,
  );
  return Math.round((tokensPerEpoch / Math.max(1, spec.dataset.train_rows)) * rowsSeen);
}

/** Seconds from launch to end. */
export function estimateSeconds(tokens: number | null, speed: Speed): number | null {
  return tokens === null ? null : Math.round(START_S + (tokens / speed.tokensPerSecond) * OVERHEAD);
}
