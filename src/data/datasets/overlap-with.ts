/** The overlap of a dataset with its validation split or with other data, as a user asks for it. */
import type { Actor, Ctx } from "../../ctx.ts";
import { overlapOf } from "./overlap.ts";
import { resolveTrainingData } from "./training-data.ts";
import { requireReady, versionOf } from "./versions.ts";

/** How long an answer waits for the comparison, which continues in the background. */
const WAIT_MS = 10_000;

/**
 * Compares the splits of a version, or the version with other data.
 * @param query `version`: the newest one unless given; `validation`: a file, dataset or version with validation rows
 * @throws AppError `version_not_ready`, `training_data_not_found`
 */
export async function overlapWith(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  query: { version?: string; validation?: string },
) {
  const data = await versionOf(ctx, actor, datasetId, query.version);
  requireReady(data);
  const other = query.validation ? await resolveTrainingData(ctx, actor, query.validation, "validation") : null;
  if (other) requireReady(other);
  const validation = other?.id === data.id ? null : other;
  return { data, validation, overlap: await overlapOf(ctx, { data, validation }, WAIT_MS) };
}
