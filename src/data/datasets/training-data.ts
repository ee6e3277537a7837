/** Resolves the `training_file` and `validation_file` of a job to a dataset version. */
import { and, desc, eq, isNull } from "drizzle-orm";
import { requireUsableVersion } from "../../accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { getFile } from "../files/service.ts";
import type { VersionRow } from "../validation/model.ts";
import { VERSION_COLUMNS } from "../validation/records.ts";
import { findVersion, listVersions, MAX_VERSIONS } from "./versions.ts";

async function versionsFor(ctx: Ctx, actor: Actor, id: string, param: string): Promise<VersionRow[]> {
  const order = [desc(datasetVersion.number)];
  if (id.startsWith("file-")) {
    const source = await getFile(ctx, actor, id);
    if (source.purpose !== "fine-tune")
      throw new AppError(
        "invalid",
        "wrong_purpose",
        `The file ${id} was uploaded with purpose '${source.purpose}'. Upload it with purpose 'fine-tune'.`,
        { param },
      );
    return ctx.db
      .select(VERSION_COLUMNS)
      .from(datasetVersion)
      .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
      .where(and(eq(datasetVersion.fileId, id), isNull(dataset.deletedAt)))
      .orderBy(desc(datasetVersion.createdAt), ...order)
      .limit(MAX_VERSIONS);
  }
  if (id.startsWith("ds_")) return listVersions(ctx, actor, id);
  const version = await findVersion(ctx, actor, id);
  return version ? [version] : [];
}

/**
 * The version that a job trains on: the newest ready version of a file or dataset, or the newest one if none is ready.
 * @param id `file-…`, `ds_…` or `dsv_…`
 * @param param the request field with the id, for errors
 * @throws AppError `training_data_not_found`, `wrong_purpose`, `invalid_training_data` with line numbers when the
 *   validation failed, `needs_mapping` when the fields are not mapped, `restricted` or `held_for_moderation`
 */
export async function resolveTrainingData(ctx: Ctx, actor: Actor, id: string, param: string): Promise<VersionRow> {
  const none = () =>
    new AppError(
      "invalid",
      "training_data_not_found",
      `No file, dataset or version has the id '${id.slice(0, 100)}'.`,
      {
        param,
      },
    );
  let versions: VersionRow[];
  try {
    versions = await versionsFor(ctx, actor, id, param);
  } catch (error) {
    throw error instanceof AppError && error.kind === "not_found" ? none() : error;
  }
  const version = versions.find((each) => each.status === "ready") ?? versions[0];
  if (!version) throw none();
  if (version.status === "failed")
    throw new AppError("invalid", "invalid_training_data", `The data is not valid. ${version.error ?? ""}`.trim(), {
      param,
    });
  if (version.status === "needs_mapping")
    throw new AppError(
      "invalid",
      "needs_mapping",
      `The fields of this file are not mapped. ${version.error ?? ""} Map them on the page of the dataset, or send POST /v1/datasets/${version.datasetId}/versions with {"mapping": …}; GET /v1/datasets/${version.datasetId}/mapping has the proposed one.`,
      { param },
    );
  await requireUsableVersion(ctx, version.id, param);
  return version;
}
