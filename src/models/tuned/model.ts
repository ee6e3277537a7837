/** Rows of fine-tuned models, checkpoints and artifacts, and their views. */
import * as v from "valibot";
import { EvaluateResultSchema, FileEntrySchema } from "../../contract/results-schema.ts";
import type { artifact, checkpoint, model } from "../../db/schema/models.ts";
import { seconds } from "../../lib/request-fields.ts";

export type CheckpointRow = typeof checkpoint.$inferSelect;

export type ArtifactRow = typeof artifact.$inferSelect;

export type ModelRow = typeof model.$inferSelect;

/** OpenAI's model object. */
export const ModelView = v.strictObject({
  id: v.string(),
  object: v.literal("model"),
  created: v.number(),
  owned_by: v.string(),
});
export type ModelView = v.InferOutput<typeof ModelView>;

/** OpenAI's list of models, without paging. */
export const ModelList = v.strictObject({ object: v.literal("list"), data: v.array(ModelView) });

/** OpenAI's answer to the deletion of a model. */
export const DeletedModel = v.strictObject({ id: v.string(), object: v.literal("model"), deleted: v.literal(true) });

export function modelView(id: string, createdAtMs: number, ownedBy: string): ModelView {
  return { id, object: "model", created: seconds(createdAtMs), owned_by: ownedBy };
}

const metrics = v.record(v.string(), v.union([v.number(), v.string()]));

/** An artifact as the API shows it; files are downloaded by their listed path. Times in seconds. */
export const ArtifactView = v.strictObject({
  object: v.literal("artifact"),
  id: v.string(),
  job_id: v.string(),
  kind: v.picklist(["checkpoint", "adapter", "model", "merged", "gguf", "report"]),
  step: v.number(),
  bytes: v.number(),
  status: v.picklist(["uploading", "complete", "invalid", "deleted"]),
  manifest_hash: v.string(),
  metrics,
  files: v.array(FileEntrySchema),
  created_at: v.number(),
});
type ArtifactView = v.InferOutput<typeof ArtifactView>;

export function artifactView(row: ArtifactRow): ArtifactView {
  return {
    object: "artifact",
    id: row.id,
    job_id: row.jobId,
    kind: row.kind,
    step: row.step,
    bytes: row.bytes,
    status: row.status,
    manifest_hash: row.manifestHash,
    metrics: row.metrics,
    files: row.files,
    created_at: seconds(row.createdAt),
  };
}

/** The origin of a model and its uses. `whole`: a full fine-tuned model, not an adapter. Times in seconds. */
export const LineageView = v.strictObject({
  object: v.literal("model.lineage"),
  model: v.string(),
  base_model: v.strictObject({ id: v.string(), revision: v.string(), hash: v.nullable(v.string()) }),
  method: v.nullable(v.picklist(["sft", "pretrain", "dpo", "orpo", "kto", "reward", "grpo"])),
  whole: v.boolean(),
  /** It was trained on data that stays on this server: it is neither run on other machines nor pushed to a hub. */
  stays_local: v.boolean(),
  precision: v.picklist(["float32", "bfloat16"]),
  dataset: v.nullable(
    v.strictObject({
      dataset_id: v.string(),
      name: v.string(),
      version_id: v.string(),
      number: v.number(),
      hash: v.nullable(v.string()),
      file_id: v.nullable(v.string()),
      deleted: v.boolean(),
    }),
  ),
  job: v.nullable(
    v.strictObject({
      id: v.string(),
      name: v.string(),
      state: v.string(),
      created_by: v.string(),
      created_at: v.nullable(v.number()),
    }),
  ),
  checkpoints: v.array(
    v.strictObject({
      id: v.string(),
      step: v.number(),
      model: v.string(),
      artifact_id: v.string(),
      metrics,
      created_at: v.number(),
    }),
  ),
  artifacts: v.array(ArtifactView),
  /** `own`: on the validation rows of its run. `against`: the fine-tuned model on the other side; null = the base. */
  evaluations: v.array(
    v.strictObject({
      id: v.string(),
      name: v.string(),
      model: v.nullable(v.string()),
      against: v.nullable(v.string()),
      own: v.boolean(),
      created_at: v.number(),
      result: v.nullable(EvaluateResultSchema),
    }),
  ),
  deployments: v.array(v.strictObject({ id: v.string(), name: v.string(), model: v.string(), state: v.string() })),
});
export type LineageView = v.InferOutput<typeof LineageView>;
