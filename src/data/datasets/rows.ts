/** Rows of dataset versions: read them, add one, count their tokens. */
import { existsSync } from "node:fs";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { localUnit } from "../../objects/local.ts";
import type { Split, VersionRow, VersionWithReport } from "../validation/model.ts";
import type { TokenStats } from "../validation/rows/report.ts";
import { ROW_NAMES } from "../validation/rows/types.ts";
import { labelWithCopies, stayingHere } from "../validation/stays-local.ts";
import { statsOf, statsWithTools } from "../validation/token-stats.ts";
import { requireRow, rowsAnd, rowsOfBoth } from "./append.ts";
import { newVersionFrom } from "./new-version.ts";
import { pageRows, type RowFilter, type RowPage } from "./read-rows.ts";
import { getDataset } from "./service.ts";
import { resolveTrainingData } from "./training-data.ts";
import { getVersion, refuseUnsettled, requireReady, versionOf } from "./versions.ts";

/** Absolute path of the canonical JSONL of a version. It exists once the version is ready. */
export function splitPath(ctx: Ctx, versionId: string, split: Split): string {
  return ctx.files.path("datasets", versionId, `${split}.jsonl`);
}

/** The lines that the report lists for a problem, also those of duplicates. */
function linesWith({ report }: VersionWithReport, code: string): Set<number> {
  const kind = code === "near_duplicate" ? "near" : code === "duplicate" ? "exact" : null;
  const pairs = report?.duplicates.pairs?.filter((pair) => pair.kind === kind) ?? [];
  const samples = report?.problems.find((problem) => problem.code === code)?.samples ?? [];
  return new Set([...samples.map(({ line }) => line), ...pairs.flatMap(({ line, first_line }) => [line, first_line])]);
}

/**
 * A page of canonical rows.
 * @param page `problem`: only rows that the report lists for this code
 * @throws AppError `version_not_ready`
 */
export async function readRows(
  ctx: Ctx,
  actor: Actor,
  versionId: string,
  page: { split: Split; after: number; limit: number; problem?: string } & RowFilter,
): Promise<RowPage> {
  const version = await getVersion(ctx, actor, versionId);
  requireReady(version);
  const dir = await localUnit(ctx, { folder: "datasets", id: versionId });
  const ids = page.problem === undefined ? undefined : linesWith(version, page.problem);
  return pageRows(dir, page.split, { ...page, ids });
}

/**
 * Adds a row to a dataset: creates a version with the rows of the newest version and this row. The old version does not
 * change.
 * @param given a row of OpenAI chat JSONL
 * @throws AppError `invalid_row`, `wrong_row_type`, `version_not_ready`, `version_validating`, `rows_gone`,
 *   `file_too_large`, `disk_full`
 */
export async function addRow(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  given: { messages: unknown; tools?: unknown },
): Promise<VersionRow> {
  const row = requireRow(given);
  const of = await getDataset(ctx, actor, datasetId);
  const newest = await versionOf(ctx, actor, datasetId);
  refuseUnsettled(newest);
  requireReady(newest);
  if (newest.rowType !== "chat")
    throw new AppError(
      "invalid",
      "wrong_row_type",
      `${of.name} has ${ROW_NAMES[newest.rowType]} rows, but only chat rows can be added one at a time. Save the row to a chat dataset, or upload the whole file again with the row in it.`,
      { param: "messages" },
    );
  const dir = await localUnit(ctx, { folder: "datasets", id: newest.id });
  if (!existsSync(splitPath(ctx, newest.id, "train")))
    throw new AppError(
      "gone",
      "rows_gone",
      `The rows of ${of.name} are no longer on the server's disk, so a row cannot be added. Upload the data again, or save the row to a new dataset.`,
    );
  const bytes = rowsAnd(dir, row);
  return newVersionFrom(ctx, actor, of, newest, { bytes, filename: `${of.name.slice(0, 200)}.jsonl` });
}

/**
 * Adds the rows of another dataset: creates a version with the rows of both newest versions. Neither of them changes.
 * @param otherId a dataset or version with rows of the same type
 * @throws AppError `wrong_row_type`, `version_not_ready`, `version_validating`, `rows_gone`, `file_too_large`,
 *   `training_data_not_found`
 */
export async function addRowsOf(ctx: Ctx, actor: Actor, datasetId: string, otherId: string): Promise<VersionRow> {
  const of = await getDataset(ctx, actor, datasetId);
  const newest = await versionOf(ctx, actor, datasetId);
  refuseUnsettled(newest);
  const other = await resolveTrainingData(ctx, actor, otherId, "dataset");
  for (const version of [newest, other]) {
    requireReady(version);
    await localUnit(ctx, { folder: "datasets", id: version.id });
    if (!existsSync(splitPath(ctx, version.id, "train")))
      throw new AppError("gone", "rows_gone", `The rows of ${version.id} are no longer on the server's disk.`);
  }
  if (newest.rowType !== other.rowType)
    throw new AppError(
      "invalid",
      "wrong_row_type",
      `${of.name} has ${ROW_NAMES[newest.rowType]} rows, the other dataset has ${ROW_NAMES[other.rowType]} rows. Only rows of the same type can be merged.`,
      { param: "dataset" },
    );
  // Before the rows are copied: they never are in a dataset without the label.
  if ((await stayingHere(ctx.db, [other.datasetId])).length > 0)
    await ctx.write((tx) => labelWithCopies(tx, of.org, [of.id]));
  const [first, second] = [newest, other].map(({ id }) => ctx.files.path("datasets", id));
  const bytes = rowsOfBoth(first ?? "", second ?? "");
  return newVersionFrom(ctx, actor, of, newest, { bytes, filename: `${of.name.slice(0, 200)}.jsonl` });
}

/**
 * Token counts of a version's training rows with the tokenizer and chat template of a base model. The first call
 * returns an estimate from the first rows within seconds. The exact count follows in the background and emits
 * `dataset.changed`.
 * @param baseModelId id of an installed base model
 * @param template `tools`: with the template for tools in place of the base model's own
 * @throws AppError `version_not_ready`, `base_model_not_ready`, `tokens_not_counted`
 */
export async function tokenStats(
  ctx: Ctx,
  actor: Actor,
  versionId: string,
  baseModelId: string,
  template: "default" | "tools" = "default",
): Promise<TokenStats> {
  const version = await getVersion(ctx, actor, versionId);
  requireReady(version);
  return template === "tools" ? statsWithTools(ctx, version, baseModelId) : statsOf(ctx, version, baseModelId);
}
