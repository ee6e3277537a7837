/**
 * Exports of fine-tuned models to other formats. Each export is a job; its files are published only when they answer
 * like the trained model.
 */
import { and, desc, eq, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { trainerIdentity } from "../../compute/providers/registry.ts";
import { isFinal } from "../../contract/job.ts";
import { type BaseModelRef, type ExportSpec, type TrainSpec, validationData } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import { artifact } from "../../db/schema/models.ts";
import { AppError, notFound } from "../../errors.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { seconds } from "../../lib/request-fields.ts";
import { baseModelRef } from "../../models/base/service.ts";
import { titleOf } from "../../models/tuned/lookup.ts";
import { type ResolvedModel, resolveModel, resolveUsableModel } from "../../models/tuned/service.ts";
import { dropUnit } from "../../objects/keep.ts";
import { requireOwner } from "../../roles.ts";
import type { JobRow } from "../jobs/model.ts";
import { createJob } from "../jobs/store.ts";
import { cardOf } from "./card.ts";
import {
  type ExportView,
  FORMATS,
  type Format,
  GGUF_TYPES,
  isOwnFormat,
  LIMITS,
  QUANTIZED,
  QUANTIZER,
} from "./model.ts";

/** Validation rows that both models read. */
const PROMPTS = 16;
const MAX_LIST = 50;

type ArtifactRow = typeof artifact.$inferSelect;

function view(row: JobRow, files: ArtifactRow | null): ExportView {
  const spec = row.spec as ExportSpec;
  return {
    object: "model.export",
    id: row.id,
    model: spec.tuned.model,
    format: spec.format,
    state: row.state === "succeeded" && files?.status !== "complete" ? "deleted" : row.state,
    fidelity: row.result?.fidelity ?? null,
    limits: spec.limits_of_fidelity,
    artifact_id: files?.status === "complete" ? files.id : null,
    bytes: files?.status === "complete" ? files.bytes : null,
    files:
      files?.status === "complete"
        ? files.files.map((file) => ({ ...file, url: `/v1/artifacts/${files.id}/content/${file.path}` }))
        : [],
    error: row.error && { code: row.error.code, message: row.error.message },
    created_by: row.createdBy,
    created_at: seconds(row.createdAt) ?? 0,
    finished_at: seconds(row.finishedAt),
  };
}

/** Directories that are searched for programs besides the server's own PATH; the trainer searches them too. */
const PROGRAMS = "/usr/local/bin:/usr/bin";

/** Formats that can be written on this machine. */
export const formatsHere = (): Format[] =>
  (Bun.which(QUANTIZER) ?? Bun.which(QUANTIZER, { PATH: PROGRAMS }))
    ? [...FORMATS]
    : FORMATS.filter((format) => !QUANTIZED.includes(format));

const ofKind = eq(job.kind, "export");
const filesOf = and(
  eq(artifact.jobId, job.id),
  sql`${artifact.kind} in ('merged', 'gguf')`,
  sql`${artifact.status} <> 'uploading'`,
);

/**
 * The exports of a fine-tuned model, newest first, at most 50, without deleted ones. @throws AppError `model_not_found`
 */
export async function listExports(ctx: Ctx, actor: Actor, model: string): Promise<ExportView[]> {
  const { id } = await resolveModel(ctx, actor, model);
  const rows = await ctx.db
    .select({ job, artifact })
    .from(job)
    .leftJoin(artifact, filesOf)
    .where(and(eq(job.org, actor.org), ofKind, sql`json_extract(${job.spec}, '$.tuned.model') = ${id}`))
    .orderBy(desc(job.createdAt), desc(job.id))
    .limit(MAX_LIST);
  return rows.map((row) => view(row.job, row.artifact)).filter((one) => one.state !== "deleted");
}

async function rowOf(ctx: Ctx, actor: Actor, id: string) {
  const [row] = await ctx.db
    .select({ job, artifact })
    .from(job)
    .leftJoin(artifact, filesOf)
    .where(and(eq(job.id, id), eq(job.org, actor.org), ofKind))
    .limit(1);
  if (!row) throw notFound("export", id);
  return row;
}

/** One export of `actor`'s organization. @throws AppError `export_not_found` */
export async function getExport(ctx: Ctx, actor: Actor, id: string): Promise<ExportView> {
  const row = await rowOf(ctx, actor, id);
  return view(row.job, row.artifact);
}

const refuse = (code: string, message: string, param: "model" | "format") =>
  new AppError("invalid", code, message, { param });

/** A model whose adapter or full model can be exported. @throws AppError `not_tuned`, `not_exportable` */
function requireExportable(found: ResolvedModel) {
  const { adapter, checkpointId } = found;
  if (!adapter || !checkpointId)
    throw refuse(
      "not_tuned",
      "Only fine-tuned models can be exported; the files of a base model exist already.",
      "model",
    );
  if (found.method === "reward")
    throw refuse(
      "not_exportable",
      "A reward model has a score head, which these formats do not support. Download its own files instead.",
      "model",
    );
  return { model: found.id, checkpoint_id: checkpointId, artifact_id: adapter.artifactId };
}

/** @throws AppError `not_exportable`, `no_quantizer` when the format cannot be written for the model on this machine */
function requireFormat(found: ResolvedModel, format: Format): void {
  const type = String(found.base.architecture?.model_type ?? "");
  if (format !== "safetensors" && type && !GGUF_TYPES.has(type))
    throw refuse(
      "not_exportable",
      `Models of type ${type} cannot be written as GGUF here; ${[...GGUF_TYPES].join(", ")} can. Export it as safetensors.`,
      "format",
    );
  if (!formatsHere().includes(format))
    throw refuse(
      "no_quantizer",
      `${format} needs llama.cpp's ${QUANTIZER}, which is not installed on this machine. Install llama.cpp, or export gguf-q8_0.`,
      "format",
    );
}

/** @throws AppError `export_exists` when an export in the format exists or is running */
async function refuseDuplicate(ctx: Ctx, actor: Actor, name: string, format: Format): Promise<void> {
  const existing = (await listExports(ctx, actor, name)).find(
    (one) => one.format === format && (one.state === "succeeded" || !isFinal(one.state)),
  );
  if (existing)
    throw new AppError(
      "conflict",
      "export_exists",
      `This model already has an export in the format ${format}: ${existing.id}. Delete it to export again.`,
      { param: "format" },
    );
}

async function specOf(
  ctx: Ctx,
  source: { base: BaseModelRef; tuned: ExportSpec["tuned"]; trained: TrainSpec | null; about: ExportSpec["about"] },
  format: Format,
): Promise<ExportSpec> {
  const { base, tuned, trained, about } = source;
  return {
    version: 1,
    kind: "export",
    base_model: base,
    tuned,
    format,
    dataset: trained && validationData(trained),
    prompts: PROMPTS,
    limits_of_fidelity: LIMITS[format],
    about,
    precision: precisionOf(trained),
    trainer: await trainerIdentity(ctx),
    need: {
      gpus: 0,
      gpu_memory_mb: 0,
      cpus: 1,
      max_price_per_hour: null,
      provider: null,
      // Merged in 32 bits; two copies while it is saved.
      memory_mb: Math.ceil((base.parameters * 4 * 2.2) / 2 ** 20) + 1500,
      disk_mb: Math.ceil((base.parameters * 8) / 2 ** 20) + 1000,
    },
    limits: { queued_s: 7 * 86_400, no_progress_s: 3600, total_s: 86_400, max_attempts: 3 },
  };
}

const precisionOf = (trained: TrainSpec | null) => trained?.hyperparameters.precision ?? "float32";

/**
 * Starts an export of a fine-tuned model or checkpoint.
 * @throws AppError `model_not_found`, `not_tuned`, `not_exportable`, `no_quantizer`, `export_exists`, `disk_full`,
 *   `quota_exceeded`
 */
export async function createExport(ctx: Ctx, actor: Actor, name: string, format: Format): Promise<ExportView> {
  const found = await resolveUsableModel(ctx, actor, name);
  const tuned = requireExportable(found);
  requireFormat(found, format);
  await refuseDuplicate(ctx, actor, name, format);
  const [run] = found.jobId
    ? await ctx.db.select({ spec: job.spec }).from(job).where(eq(job.id, found.jobId)).limit(1)
    : [];
  const trained = run ? (run.spec as TrainSpec) : null;
  if (isOwnFormat({ whole: found.whole, precision: precisionOf(trained) }, format))
    throw refuse(
      "not_exportable",
      "This is a full fine-tuned model: its own files are already these safetensors and load without the base. Download them on the model's page.",
      "format",
    );
  const about = { license: found.base.license, card: await cardOf(ctx, actor, name, format) };
  const spec = await specOf(ctx, { base: baseModelRef(found.base), tuned, trained, about }, format);
  requireDisk(ctx.files.path("artifacts"), ctx.config.disk_reserve_bytes);
  const created = await createJob(ctx, actor, {
    kind: "export",
    name: `${await titleOf(ctx, found.id)} as ${format}`,
    spec,
    request: { model: found.id, format },
    parentId: found.jobId ?? undefined,
  });
  await ctx.write((tx) => audit(tx, ctx, actor, "export.create", created.id, { model: found.id, format }));
  return getExport(ctx, actor, created.id);
}

/**
 * Deletes the files of a finished export; its report stays with its job. @throws AppError `export_not_found`,
 * `export_running`
 */
export async function deleteExport(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const { job: row, artifact: files } = await rowOf(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  if (!isFinal(row.state))
    throw new AppError("conflict", "export_running", "This export is still running; cancel its job first.");
  if (files?.status !== "complete") return;
  await ctx.write(async (tx) => {
    await tx.update(artifact).set({ status: "deleted" }).where(eq(artifact.id, files.id));
    await audit(tx, ctx, actor, "export.delete", id, { artifact: files.id });
  });
  await dropUnit(ctx, { folder: "artifacts", id: files.id });
}
