/** Edits one row of a dataset: shows its source text with its problems, and replaces it in a new version. */
import { existsSync } from "node:fs";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError, notFound } from "../../errors.ts";
import { localUnit } from "../../objects/local.ts";
import { getFile } from "../files/service.ts";
import type { VersionRow, VersionWithReport } from "../validation/model.ts";
import type { Problem } from "../validation/rows/report.ts";
import { newVersionFrom } from "./new-version.ts";
import { getDataset } from "./service.ts";
import { type Container, containerOf, recordsOf, withRecord } from "./source-records.ts";
import { refuseUnsettled, versionOf } from "./versions.ts";

/** Longest text of a row that a page edits, in characters. */
const MAX_TEXT = 1_000_000;

/** A problem of the row, at a place in it. */
type RowProblem = Pick<Problem, "code" | "severity" | "message" | "advice"> & { path: string; detail: string };

export interface RowSource {
  version: VersionWithReport;
  /** The row as it is in the file. */
  text: string;
  container: Container;
  problems: RowProblem[];
}

/** The problems that the report lists for a line. */
function problemsAt(version: VersionWithReport, line: number): RowProblem[] {
  return (version.report?.problems ?? []).flatMap(({ samples, code, severity, message, advice }) =>
    samples
      .filter((sample) => sample.line === line && severity !== "info")
      .map(({ path, detail }) => ({ code, severity, message, advice, path, detail })),
  );
}

interface Source {
  path: string;
  container: Container;
  delimiter: string;
}

/** The uploaded file of a version. @throws AppError `rows_not_editable` */
async function sourceOf(ctx: Ctx, actor: Actor, version: VersionWithReport): Promise<Source> {
  const file = await getFile(ctx, actor, version.fileId ?? "");
  const container = containerOf(version.report);
  const path = await localUnit(ctx, { folder: "files", id: file.id });
  if (!container || !existsSync(path))
    throw new AppError(
      "conflict",
      "rows_not_editable",
      `Rows of ${file.filename} cannot be edited one by one. Download the rows as JSONL, change them, and upload the file as a new version.`,
    );
  return { path, container, delimiter: version.report?.csv?.delimiter ?? "," };
}

/**
 * The source text of a row of the newest version.
 * @param line its number, as in the report and in lists of rows
 * @throws AppError `row_not_found`, `rows_not_editable`, `row_too_long`
 */
export async function rowSource(ctx: Ctx, actor: Actor, datasetId: string, line: number): Promise<RowSource> {
  const version = await versionOf(ctx, actor, datasetId);
  const { path, container, delimiter } = await sourceOf(ctx, actor, version);
  for await (const { number, bytes } of recordsOf(path, container, delimiter)) {
    if (number !== line) continue;
    if (bytes.length > MAX_TEXT)
      throw new AppError(
        "conflict",
        "row_too_long",
        `Row ${line} is longer than ${MAX_TEXT} characters. Change it in the file, and upload the file as a new version.`,
      );
    return { version, text: bytes.toString("utf8"), container, problems: problemsAt(version, line) };
  }
  throw notFound("row", String(line));
}

/** A row of several lines as one line: between the parts of a JSON value, a line break means nothing. */
const oneLine = (text: string) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean)
    .join(" ");

/**
 * Replaces a row in a new version of the dataset. All other rows keep their lines.
 * @param text the new source text; null leaves the row out
 * @throws AppError `row_not_found`, `rows_not_editable`, `version_validating`, `quota_exceeded`, `disk_full`
 */
export async function editRow(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  line: number,
  text: string | null,
): Promise<VersionRow> {
  const of = await getDataset(ctx, actor, datasetId);
  const newest = await versionOf(ctx, actor, datasetId);
  refuseUnsettled(newest);
  const { path, container, delimiter } = await sourceOf(ctx, actor, newest);
  await rowSource(ctx, actor, datasetId, line);
  const one = container === "jsonl" ? (text === null ? null : oneLine(text)) : text;
  const bytes = withRecord(path, container, delimiter, { number: line, text: one });
  const { filename } = await getFile(ctx, actor, newest.fileId ?? "");
  return newVersionFrom(ctx, actor, of, newest, { bytes, filename, keepSettings: true });
}
