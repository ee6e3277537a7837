/** Seeded sweeps: one with twelve trials that has almost finished, and one with a grid that has finished. */
import type { Decision } from "../../src/contract/sweep.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { sweep, trial } from "../../src/db/schema/sweeps.ts";
import { ordinal } from "../../src/lib/text/format.ts";
import { HOUR, idOf } from "./seed-rows.ts";
import { rng } from "./seed-run.ts";

type Trial = typeof trial.$inferInsert;
const TRAINING = { model: "smollm2-135m-instruct", training_file: idOf("ds_", 0), n_epochs: 3 };

/** Twelve draws of rate and rank, of which one in three continues at each rung. */
function trials(sweepId: string): Trial[] {
  const random = rng(11);
  const seen: number[] = [];
  return Array.from({ length: 12 }, (_, n): Trial => {
    const rate = Number((1e-5 * 300 ** random()).toPrecision(3));
    const rank = [8, 16, 32][n % 3] ?? 8;
    const loss = 0.08 + 0.25 * Math.abs(Math.log10(rate / 6e-4)) + 0.03 * random();
    const rank0 = seen.filter((other) => other < loss).length + 1;
    seen.push(loss);
    const kept = rank0 <= Math.max(1, Math.floor(seen.length / 3));
    const decisions: Decision[] = [{ rung: 0, step: 15, value: loss + 0.2, rank: rank0, of: seen.length, kept, at: 0 }];
    const one = { sweepId, number: n + 1, values: { learning_rate: rate, lora_r: rank }, rungs: [15, 45] };
    if (n > 9) return { ...one, state: "waiting", decisions: [] };
    if (n === 6) return { ...one, state: "running", jobId: idOf("ftjob-", 0), decisions: [] };
    if (n === 3) return { ...one, state: "failed", decisions: [], reason: "The trainer ran out of memory." };
    if (!kept)
      return {
        ...one,
        state: "stopped",
        decisions,
        score: loss + 0.2,
        reason: `Stopped at step 15: ${ordinal(rank0)} of ${seen.length} by eval/loss (${(loss + 0.2).toPrecision(4)}). One in 3 continues.`,
      };
    return { ...one, state: "succeeded", jobId: idOf("ftjob-", n % 2 ? 4 : 1), decisions, score: loss };
  });
}

/** Adds both; the jobs of `seedFull` must be there. */
export async function addSweeps(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  const of = (n: number, name: string) => ({ id: idOf("sweep_", n), org: actor.org, name, createdBy: actor.userId });
  await ctx.write(async (tx) => {
    await tx.insert(sweep).values([
      {
        ...of(0, "Rate and rank for the support classifier"),
        state: "running",
        createdAt: now - HOUR,
        request: {
          name: "Rate and rank",
          training: TRAINING,
          metric: "eval/loss",
          direction: "min",
          parallel: 2,
          space: {
            learning_rate: { min: 1e-5, max: 3e-3, scale: "log", points: 3 },
            lora_r: [8, 16, 32],
          },
          strategy: { type: "halving", trials: 12, seed: 42, eta: 3 },
        },
      },
      {
        ...of(1, "Seeds, to see what is chance"),
        state: "succeeded",
        createdAt: now - 30 * HOUR,
        finishedAt: now - 28 * HOUR,
        request: {
          name: "Seeds",
          training: TRAINING,
          metric: "eval/loss",
          direction: "min",
          parallel: 1,
          space: { seed: [1, 2] },
          strategy: { type: "grid" },
        },
      },
    ]);
    await tx.insert(trial).values([
      ...trials(idOf("sweep_", 0)),
      ...[1, 4].map(
        (job, n): Trial => ({
          sweepId: idOf("sweep_", 1),
          number: n + 1,
          values: { seed: n + 1 },
          rungs: [],
          decisions: [],
          state: "succeeded",
          jobId: idOf("ftjob-", job),
          score: 0.112 + n / 500,
        }),
      ),
    ]);
  });
}
