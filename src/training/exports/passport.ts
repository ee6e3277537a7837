/** The provenance of a fine-tuned model: a signed document of how it was created. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { and, desc, eq, inArray, sql } from "drizzle-orm";
import { assetPath, assetsHash } from "../../assets.ts";
import type { EvaluateResult, TrainSpec } from "../../contract/spec.ts";
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
export async function factsOf(ctx: Ctx, actor: Actor, name: string) {
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
