/** Rows of fine-tuned models, checkpoints and artifacts, and their views. */
import type { FileEntry } from "../../contract/spec.ts";
import type { artifact, checkpoint, model } from "../../db/schema/models.ts";
import { seconds } from "../base/model.ts";

export type CheckpointRow = typeof checkpoint.$inferSelect;

export type ArtifactRow = typeof artifact.$inferSelect;

export type ModelRow = typeof model.$inferSelect;

/** OpenAI's model object. */
export interface ModelView {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
}

export function modelView(id: string, createdAtMs: number, ownedBy: string): ModelView {
  return { id, object: "model", created: seconds(createdAtMs), owned_by: ownedBy };
}

/** An artifact as the API shows it; files are downloaded by their listed path. */
export function artifactView(row: ArtifactRow) {
  return {
    object: "artifact" as const,
    id: row.id,
    job_id: row.jobId,
    kind: row.kind,
    step: row.step,
    bytes: row.bytes,
    status: row.status,
    manifest_hash: row.manifestHash,
    metrics: row.metrics,
    files: row.files satisfies FileEntry[],
    created_at: seconds(row.createdAt),
  };
}
