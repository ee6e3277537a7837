/** What a trainer reads: its spec, model and adapter files by input name, the checkpoint to resume, and its data. */
import { basename, dirname } from "node:path";
import { eq, sql } from "drizzle-orm";
import { mayUseHub } from "../../compute/limits/hub.ts";
import type { HubSource } from "../../contract/hub-source.ts";
import type { Market } from "../../contract/provider.ts";
import { type DatasetRef, type FileEntry, type JobSpec, validationData } from "../../contract/spec.ts";
import type { InputFiles, SpecReply } from "../../contract/trainer.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { splitPath } from "../../data/datasets/rows.ts";
import { SPLITS, type Split } from "../../data/validation/model.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { artifact } from "../../db/schema/models.ts";
import { AppError, notFound } from "../../errors.ts";
import { lruOf } from "../../lib/lru.ts";
import { hubSource } from "../../models/base/hub.ts";
import { baseModelDir, getBaseModel } from "../../models/base/service.ts";
import { isSharedArtifact } from "../../models/tuned/permissions.ts";
import { newestCheckpoint } from "../../models/tuned/service.ts";
import { localUnit } from "../../objects/local.ts";
import { keptHere, keptHereMessage } from "../jobs/stays-local.ts";
import type { Trainer } from "./token.ts";

/** Seconds between heartbeats, and most events of one batch, as reported to trainers. */
const HEARTBEAT_S = 15;
const MAX_BATCH_EVENTS = 1000;
/** Files of a checkpoint that are needed only to resume training. */
const RESUME_ONLY = new Set(["optimizer.safetensors", "rng.json", "trainer_state.json", "best.safetensors"]);

interface Input {
  directory: string;
  files: FileEntry[];
  /** The artifact whose files these are; null for a base model. */
  artifactId: string | null;
  /** Where the hub has the same files; only of a base model that was downloaded from there. */
  hub?: HubSource | null;
}

/** One file of an input. */
export interface InputFile {
  path: string;
  file: FileEntry;
  artifactId: string | null;
}

interface Reach {
  inputs: boolean;
  resume: boolean;
  /** The market of its machine. */
  market: Market;
}

/** Whether the trainer reads the server's files in place. A container has models and adapters mounted, nothing else. */
async function reachOf(ctx: Ctx, trainer: Trainer): Promise<Reach> {
  const plugin = ctx.compute.get(trainer.provider)?.plugin;
  const [row] = await ctx.db.select({ offer: attempt.offer }).from(attempt).where(eq(attempt.id, trainer.id)).limit(1);
  const inputs = row?.offer.local ?? plugin?.capabilities.local ?? false;
  // Attempts of contract 1 that still run know no market.
  return { inputs, resume: inputs && plugin?.kind !== "container", market: row?.offer.market ?? "own" };
}

async function baseInput(ctx: Ctx, spec: JobSpec): Promise<Input> {
  const row = await getBaseModel(ctx, spec.base_model.id);
  if (row?.status !== "ready" || !row.files)
    throw new AppError(
      "invalid",
      "base_model_missing",
      `The base model ${spec.base_model.id} is no longer installed. Install it again and create the job again.`,
    );
  if (row.hash !== spec.base_model.hash)
    throw new AppError(
      "invalid",
      "base_model_changed",
      `The base model ${spec.base_model.id} was replaced by another revision after this job was created. Create the job again.`,
    );
  return { directory: baseModelDir(ctx, row.id), files: row.files, artifactId: null, hub: hubSource(ctx, row) };
}

async function adapterInput(ctx: Ctx, trainer: Trainer, artifactId: string): Promise<Input> {
  const [row] = await ctx.db.select().from(artifact).where(eq(artifact.id, artifactId)).limit(1);
  const isShared = async () => trainer.kind === "serve" && (await isSharedArtifact(ctx, trainer.org, artifactId));
  if (row?.status !== "complete" || (row.org !== trainer.org && !(await isShared())))
    throw new AppError("invalid", "artifact_missing", `The files of ${artifactId} no longer exist.`);
  return {
    directory: await localUnit(ctx, { folder: "artifacts", id: row.id }),
    files: row.files.filter((file) => !RESUME_ONLY.has(file.path)),
    artifactId: row.id,
  };
}

/**
 * A job's inputs by name: `base`, and `start` (train), `adapter` (evaluate, export), `against` (evaluate) or names of
 * its spec (serve).
 */
async function inputsOf(ctx: Ctx, trainer: Trainer): Promise<Map<string, Input>> {
  const { spec } = trainer;
  const inputs = new Map([["base", await baseInput(ctx, spec)]]);
  if (spec.kind === "train" && spec.start)
    inputs.set("start", await adapterInput(ctx, trainer, spec.start.artifact_id));
  if ((spec.kind === "evaluate" || spec.kind === "export") && spec.tuned)
    inputs.set("adapter", await adapterInput(ctx, trainer, spec.tuned.artifact_id));
  if (spec.kind === "evaluate" && spec.against)
    inputs.set("against", await adapterInput(ctx, trainer, spec.against.artifact_id));
  if (spec.kind === "serve" && spec.whole)
    inputs.set(spec.whole.input, await adapterInput(ctx, trainer, spec.whole.artifact_id));
  if (spec.kind === "serve")
    for (const adapter of spec.adapters)
      inputs.set(adapter.input, await adapterInput(ctx, trainer, adapter.artifact_id));
  return inputs;
}

interface Resume extends Input {
  checkpointId: string;
  artifactId: string;
  step: number;
}

/** The checkpoint that each attempt resumes, cached because finding one reads and hashes all of it. */
const resumes = perContext(() => lruOf<Resume>(1000));

/** The newest checkpoint of the run that a job continues; null for other jobs. */
async function continuedFrom(ctx: Ctx, trainer: Trainer) {
  const [row] = await ctx.db.select({ metadata: job.metadata }).from(job).where(eq(job.id, trainer.jobId)).limit(1);
  const from = row?.metadata.continues;
  if (!from) return null;
  const [source] = await ctx.db.select({ org: job.org }).from(job).where(eq(job.id, from)).limit(1);
  return source?.org === trainer.org ? newestCheckpoint(ctx, from) : null;
}

async function resumeOf(ctx: Ctx, trainer: Trainer): Promise<Resume | null> {
  if (trainer.kind !== "train") return null;
  const newest = (await newestCheckpoint(ctx, trainer.jobId)) ?? (await continuedFrom(ctx, trainer));
  if (!newest) return null;
  const [row] = await ctx.db.select().from(artifact).where(eq(artifact.id, newest.artifactId)).limit(1);
  if (!row) return null;
  const directory = await localUnit(ctx, { folder: "artifacts", id: row.id });
  const { id: checkpointId, step } = newest;
  const resume = { checkpointId, artifactId: row.id, step, directory, files: row.files };
  resumes(ctx).set(trainer.id, resume);
  return resume;
}

/**
 * Refuses an attempt on another machine that would read a model which stays here, also when the label came after the
 * launch.
 * @returns whether the job reads anything that stays here
 * @throws AppError `model_stays_local` (403)
 */
async function requireModelsHere(ctx: Ctx, trainer: Trainer): Promise<{ staysHere: boolean }> {
  const [row] = await ctx.db.select({ metadata: job.metadata }).from(job).where(eq(job.id, trainer.jobId)).limit(1);
  const kept = await keptHere(ctx.db, trainer.spec, { id: trainer.jobId, metadata: row?.metadata });
  if (kept.models.length === 0 || (await reachOf(ctx, trainer)).inputs) return { staysHere: kept.any };
  throw new AppError("forbidden", "model_stays_local", keptHereMessage(kept));
}

/**
 * The reply to `GET /spec`. Also stores that the trainer has called and where the attempt resumes, so that later points
 * are dropped.
 */
export async function specReply(ctx: Ctx, trainer: Trainer): Promise<SpecReply> {
  const reach = await reachOf(ctx, trainer);
  const { staysHere } = await requireModelsHere(ctx, trainer);
  const usesHub = !reach.inputs && !staysHere && (await mayUseHub(ctx, trainer.provider, reach));
  const view = ({ directory, files }: Input, local: boolean): InputFiles => ({
    local_path: local ? directory : null,
    files,
  });
  const inputs = [...(await inputsOf(ctx, trainer))].map(
    ([name, input]) =>
      [name, { ...view(input, reach.inputs), ...(usesHub && input.hub ? { hub: input.hub } : {}) }] as const,
  );
  const resume = await resumeOf(ctx, trainer);
  await ctx.write((tx) =>
    tx
      .update(attempt)
      .set({
        contactAt: sql`coalesce(${attempt.contactAt}, ${ctx.clock.now()})`,
        ...(trainer.kind === "train" ? { trimStep: resume?.step ?? 0, resumedFrom: resume?.artifactId ?? null } : {}),
      })
      .where(eq(attempt.id, trainer.id)),
  );
  return {
    protocol: 1,
    job_id: trainer.jobId,
    attempt_id: trainer.id,
    attempt: trainer.number,
    kind: trainer.kind,
    spec: trainer.spec,
    inputs: Object.fromEntries(inputs),
    resume: resume && { checkpoint_id: resume.checkpointId, step: resume.step, ...view(resume, reach.resume) },
    last_seq: trainer.lastSeq,
    heartbeat_s: HEARTBEAT_S,
    max_batch_events: MAX_BATCH_EVENTS,
  };
}

/** A listed file of an input. Other files do not exist. @throws AppError `input_not_found` */
export async function inputFile(ctx: Ctx, trainer: Trainer, name: string, path: string): Promise<InputFile> {
  await requireModelsHere(ctx, trainer);
  const resume = name === "resume" ? (resumes(ctx).get(trainer.id) ?? (await resumeOf(ctx, trainer))) : null;
  // The copy may have been removed since the resume was cached.
  if (resume) await localUnit(ctx, { folder: "artifacts", id: resume.artifactId });
  const input = name === "resume" ? resume : (await inputsOf(ctx, trainer)).get(name);
  const file = input?.files.find((one) => one.path === path);
  if (!input || !file) throw notFound("input", `${name}/${path}`.slice(0, 300));
  return { path: `${input.directory}/${file.path}`, file, artifactId: input.artifactId };
}

/**
 * The files of a split, for the trainer that asks. Rows that stay here are sent to no other machine, even when the
 * label came after the launch.
 * @throws AppError `split_not_found`, `object_store_unavailable`, `data_stays_local` (403)
 */
export async function splitFor(ctx: Ctx, trainer: Trainer, split: string): Promise<string[]> {
  const files = await splitFiles(ctx, trainer, split);
  const kept = await keptHere(ctx.db, trainer.spec);
  if (!kept.any || (await reachOf(ctx, trainer)).inputs) return files;
  throw new AppError("forbidden", "data_stays_local", keptHereMessage(kept));
}

/**
 * The files of a split of the job's data: one, both (all rows of the version), or none.
 * @throws AppError `split_not_found`, `object_store_unavailable`
 */
async function splitFiles(ctx: Ctx, trainer: Trainer, split: string): Promise<string[]> {
  const paths = pathsOf(ctx, trainer, split);
  for (const path of paths) await localUnit(ctx, { folder: "datasets", id: basename(dirname(path)) });
  return paths;
}

function pathsOf(ctx: Ctx, trainer: Trainer, split: string): string[] {
  const { spec } = trainer;
  const all = (data: DatasetRef) => SPLITS.map((part) => splitPath(ctx, data.version_id, part));
  const files = (data: DatasetRef, which: Split) => {
    const [wanted, other] =
      which === "train" ? [data.train_rows, data.holdout_rows] : [data.holdout_rows, data.train_rows];
    return other === 0 ? all(data) : wanted === 0 ? [] : [splitPath(ctx, data.version_id, which)];
  };
  if (spec.kind === "train") {
    const validation = validationData(spec);
    if (split === "train") return files(spec.dataset, "train");
    if (split === "holdout") return validation ? files(validation, "holdout") : [];
    if (split === "validation" && spec.validation) return all(spec.validation);
  }
  if (spec.kind === "evaluate") {
    if (split === "train" || split === "holdout") return files(spec.dataset, split);
    if (split === "validation" && spec.split === "validation") return all(spec.dataset);
  }
  if (spec.kind === "export" && spec.dataset && split === "holdout") return files(spec.dataset, split);
  throw notFound("split", split.slice(0, 100));
}
