/**
 * Model card and provenance of a fine-tuned model: a signed document of how it was created, and Markdown for people.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { and, desc, eq, inArray, sql } from "drizzle-orm";
import { assetPath, assetsHash } from "../../assets.ts";
import { type EvaluateResult, type TrainSpec, validationRows } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact, checkpoint } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";
import { readPins } from "../../lib/requirements.ts";
import { publicKey, signJson } from "../../lib/signed-json.ts";
import { resolveModel } from "../../models/tuned/service.ts";
import type { PassportKey } from "./model.ts";

const PURPOSE = "run passport";

/**
 * The pinned packages of this build's trainer; null for runs of another build, whose environment is only known by its
 * hash.
 */
function packagesOf(spec: TrainSpec): string[] | null {
  if (spec.trainer.version !== assetsHash("trainer").slice(0, 16)) return null;
  const pins = ["requirements-torch.txt", "requirements.txt"].flatMap((name) =>
    readPins(readFileSync(join(assetPath("trainer"), name), "utf8")),
  );
  // Packages for some platforms only are left out: the platform of the run is not known here.
  return pins.filter(({ marker }) => marker === null).map(({ name, version }) => `${name}==${version}`);
}

/** The facts of model card and provenance. @throws AppError `model_not_found`, `not_tuned` */
async function factsOf(ctx: Ctx, actor: Actor, name: string) {
  const found = await resolveModel(ctx, actor, name);
  const [run] = found.jobId ? await ctx.db.select().from(job).where(eq(job.id, found.jobId)).limit(1) : [];
  if (!found.checkpointId || run?.spec.kind !== "train")
    throw new AppError(
      "invalid",
      "not_tuned",
      "Only models that were fine-tuned here have a model card and provenance.",
      { param: "model" },
    );
  const [point] = await ctx.db.select().from(checkpoint).where(eq(checkpoint.id, found.checkpointId)).limit(1);
  const exported = ctx.db
    .select({ id: job.id })
    .from(job)
    .where(and(eq(job.parentId, run.id), eq(job.kind, "export"), eq(job.org, actor.org)));
  const own = and(eq(artifact.jobId, run.id), inArray(artifact.kind, ["adapter", "model"]));
  const files = await ctx.db
    .select()
    .from(artifact)
    .where(and(eq(artifact.status, "complete"), sql`(${own} or ${inArray(artifact.jobId, exported)})`))
    .orderBy(desc(artifact.createdAt))
    .limit(20);
  const [judged] = await ctx.db
    .select({ result: evaluation.result })
    .from(evaluation)
    .where(and(eq(evaluation.trainJobId, run.id), sql`${evaluation.result} is not null`))
    .orderBy(desc(evaluation.createdAt))
    .limit(1);
  return {
    found,
    run,
    spec: run.spec,
    point: point ?? null,
    files,
    result: (judged?.result ?? null) as EvaluateResult | null,
  };
}

/** The signed provenance of a fine-tuned model or checkpoint. @throws AppError `model_not_found`, `not_tuned` */
export async function passportOf(ctx: Ctx, actor: Actor, name: string) {
  const { found, run, spec, point, files, result } = await factsOf(ctx, actor, name);
  const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return signJson(ctx.secret, PURPOSE, {
    object: "model.passport" as const,
    version: 1,
    installation: ctx.installation,
    issued_at: iso(ctx.clock.now()),
    model: found.id,
    job: { id: run.id, started_at: iso(run.startedAt), finished_at: iso(run.finishedAt), attempts: run.attempts },
    base_model: spec.base_model,
    dataset: spec.dataset,
    validation: spec.validation,
    spec,
    seed: spec.hyperparameters.seed,
    trainer: { ...spec.trainer, image: spec.trainer.image ?? null, packages: packagesOf(spec) },
    checkpoint: point && { id: point.id, step: point.step, metrics: point.metrics },
    result: run.result,
    evaluation: result,
    artifacts: files.map((row) => ({ id: row.id, kind: row.kind, step: row.step, files: row.files })),
  });
}

/** The public key of the provenance signatures; keep it to verify them. */
export function passportKey(ctx: Ctx): PassportKey {
  return {
    object: "passport_key",
    algorithm: "ed25519",
    installation: ctx.installation,
    public_key: publicKey(ctx.secret, PURPOSE),
  };
}

const percent = (value: number) => `${(value * 100).toFixed(1)}%`;

/** The rows of the card's table of settings. */
function settingsOf(spec: TrainSpec, step: number | null): [string, unknown][] {
  const { hyperparameters: h, method } = spec;
  return [
    ["Method", method.type],
    ["Steps", spec.schedule.total_steps],
    ["Batch size", h.batch_size],
    ["Learning rate", `${h.learning_rate}, ${h.scheduler}`],
    ["Max sequence length", `${h.max_length} tokens`],
    ["Precision", h.precision],
    ["Base model quantization", method.quantization ?? "none"],
    ["Adapter", JSON.stringify(method.adapter)],
    ["Seed", h.seed],
    ["Checkpoint", step === null ? "-" : `step ${step}`],
  ];
}

/** The card's section with the scores of both sides; empty without an evaluation. */
function scoresOf(result: EvaluateResult | null): string[] {
  if (!result?.tuned) return [];
  const { base, tuned } = result;
  return [
    "## Before and after",
    "",
    `On ${tuned.rows} validation rows:`,
    "",
    "| | base | fine-tuned |",
    "|---|---|---|",
    `| Exact match | ${percent(base.exact_match.mean)} | ${percent(tuned.exact_match.mean)} |`,
    `| Loss | ${base.loss.mean.toFixed(4)} | ${tuned.loss.mean.toFixed(4)} |`,
    "",
  ];
}

/**
 * The model card of a fine-tuned model: Markdown with the header that model hubs read.
 * @throws AppError `model_not_found`, `not_tuned`
 */
export async function cardOf(ctx: Ctx, actor: Actor, name: string): Promise<string> {
  const { found, run, spec, point, result } = await factsOf(ctx, actor, name);
  const { method, dataset: data } = spec;
  const { license } = found.base;
  return [
    "---",
    `license: ${license ?? "unknown"}`,
    `base_model: ${spec.base_model.id}`,
    "library_name: transformers",
    "tags:",
    "- fine-tune-lab",
    `- ${method.type}`,
    "---",
    "",
    `# ${found.id}`,
    "",
    `${spec.base_model.id} (revision ${spec.base_model.revision}), fine-tuned with ${method.type}.`,
    "",
    "## Data",
    "",
    `${data.train_rows} training rows, ${validationRows(spec)} validation rows${spec.validation ? " in a file of their own" : ""}. Content hash \`${data.hash}\`.`,
    "",
    "## Training",
    "",
    "| | |",
    "|---|---|",
    ...settingsOf(spec, point?.step ?? null).map(([key, value]) => `| ${key} | ${value} |`),
    "",
    ...scoresOf(result),
    "## License",
    "",
    `The license of the base model: ${license ?? "unknown"}.`,
    "",
    "## Provenance",
    "",
    `Job ${run.id} on the installation ${ctx.installation}. The signed provenance document has the full specification.`,
    "",
  ].join("\n");
}
