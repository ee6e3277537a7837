/** Seeded evaluations: the answers of both sides to real validation rows, and the scores that follow from them. */
import type { EvaluateResult, SideScore } from "../../src/contract/spec.ts";
import type { WireMessage } from "../../src/contract/trainer.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { answer, evaluation } from "../../src/db/schema/evaluations.ts";
import { job } from "../../src/db/schema/jobs.ts";
import { heldOut } from "./seed-datasets.ts";
import { idOf, insertAll, type JobRow, jobRow, limits, nameAt, need, seedSpec } from "./seed-rows.ts";
import { rng } from "./seed-run.ts";

type Answer = typeof answer.$inferInsert;

const CHATTER = [
  "I'm sorry to hear that! Could you describe what happened in more detail, so that I can help you?",
  "Here is the support ticket:\n\nCustomer message: the customer has a problem with the bank.\nPriority: to be decided.",
  "Thank you for your message. Please contact our customer service, which is open from 9 to 17.",
];

/** Nearly right: one word of the ticket is another. */
const near = (expected: string) => expected.replace(/"urgency":"\w+"/, '"urgency":"medium"');

/** What one side said to the rows: right with a chance of `exact`, else close to it (tuned) or chatter (base). */
function answersOf(jobId: string, rows: ReturnType<typeof heldOut>, side: "base" | "tuned", exact: number): Answer[] {
  const random = rng(side === "base" ? 3 : 9);
  return rows.map((row, n) => {
    const right = random() < exact;
    const wrong = side === "base" ? (CHATTER[n % CHATTER.length] ?? "") : near(row.expected);
    const loss = (side === "base" ? 2.9 : right ? 0.05 : 0.6) * (0.7 + 0.6 * random());
    return {
      jobId,
      rowId: row.id,
      side,
      prompt: row.prompt as WireMessage[],
      expected: row.expected,
      output: right ? row.expected : wrong,
      exact: right,
      loss,
      tokens: 18 + (n % 9),
      tokenAccuracy: right ? 1 : side === "base" ? 0.3 + 0.2 * random() : 0.86 + 0.1 * random(),
    };
  });
}

function spread(values: number[]): { mean: number; low: number; high: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const error = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0)) / values.length;
  return { mean, low: mean - 1.96 * error, high: mean + 1.96 * error };
}

function scoreOf(answers: Answer[]): SideScore {
  const loss = spread(answers.map((one) => one.loss ?? 0));
  const exact = spread(answers.map((one) => Number(one.exact)));
  return {
    rows: answers.length,
    tokens: answers.reduce((sum, one) => sum + one.tokens, 0),
    loss,
    perplexity: Math.exp(loss.mean),
    token_accuracy: spread(answers.map((one) => one.tokenAccuracy ?? 0)),
    exact_match: {
      mean: exact.mean,
      low: Math.max(0, exact.low),
      high: Math.min(1, exact.high),
      count: answers.filter((one) => one.exact).length,
    },
  };
}

/**
 * Adds the evaluation of training job `n`. `exact`: how often base and fine-tuned model are right; null when the work
 * failed.
 */
export async function addEvaluation(ctx: Ctx, actor: Actor, n: number, exact: [number, number] | null): Promise<void> {
  const train = seedSpec(n);
  const id = idOf("job-", n);
  const rows = exact ? heldOut(ctx, n) : [];
  const [base, tuned] = [answersOf(id, rows, "base", exact?.[0] ?? 0), answersOf(id, rows, "tuned", exact?.[1] ?? 0)];
  const result: EvaluateResult | null = exact ? { base: scoreOf(base), tuned: scoreOf(tuned) } : null;
  const changes: Partial<JobRow> = exact
    ? { result: { ...result } }
    : {
        error: {
          code: "out_of_memory",
          message: "The trainer ran out of memory while the fine-tuned model answered.",
          param: null,
          advice: "Evaluate fewer rows at once, or free memory on this machine.",
          detail: null,
        },
      };
  await insertAll(ctx, job, [
    jobRow(actor, ctx.clock.now(), n, exact ? "succeeded" : "failed", {
      id,
      kind: "evaluate",
      name: `Before and after: ${nameAt(n)}`.slice(0, 200),
      parentId: idOf("ftjob-", n),
      ...changes,
      spec: {
        version: 1,
        kind: "evaluate",
        base_model: train.base_model,
        dataset: train.dataset,
        split: "holdout",
        tuned: { model: train.output_model, checkpoint_id: "ftckpt_model0", artifact_id: "art_model0" },
        max_rows: 40,
        max_new_tokens: 64,
        batch_size: 8,
        precision: "float32",
        seed: 42,
        need,
        limits,
        trainer: train.trainer,
      },
    }),
  ]);
  await ctx.write(async (tx) => {
    if (rows.length) await tx.insert(answer).values([...base, ...tuned]);
    await tx.insert(evaluation).values({
      id: idOf("eval_", n),
      org: actor.org,
      name: nameAt(n),
      jobId: id,
      trainJobId: idOf("ftjob-", n),
      result,
      baseModelId: train.base_model.id,
      tunedModel: train.output_model,
      versionId: train.dataset.version_id,
      createdBy: actor.userId,
      createdAt: ctx.clock.now(),
    });
  });
}
