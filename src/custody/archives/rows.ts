/** The rows of an archive: one JSON object a line, read in pieces, so that memory stays flat. */
import { type SQL, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { type UnitFile, unitFile } from "../../objects/local.ts";
import type { Unit } from "../../objects/units.ts";
import { JSON_COLUMNS, PARTS } from "./tables.ts";

/** Rows that one query looks at, whoever they belong to: it never takes long, however large the table is. */
const WINDOW = 1000;

/** Who or what an archive is about. */
export interface Subject {
  scope: "user" | "organization";
  id: string;
}

/** The rows of a table that belong to the subject; null when it has no part. Names come from PARTS alone. */
function conditionOf(table: string, { scope, id }: Subject): SQL | null {
  const where = PARTS[table]?.[scope];
  if (!where) return null;
  const pieces = where.split(":id").map((piece) => sql.raw(piece));
  return sql.join(pieces, sql`${id}`);
}

/** A value as it is shown: JSON as JSON, milliseconds as a time. */
function shown(column: string, value: unknown): unknown {
  if (typeof value === "number" && (column === "at" || column.endsWith("_at"))) return new Date(value).toISOString();
  if (typeof value !== "string" || !JSON_COLUMNS.has(column) || !/^[[{]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** The lines of one table as it is now, in pieces of at most 1,000 rows, each with its number of rows. */
export async function* rowsOf(
  ctx: Ctx,
  table: string,
  subject: Subject,
): AsyncGenerator<{ text: string; rows: number }> {
  const where = conditionOf(table, subject);
  if (!where) return;
  const without = new Set(PARTS[table]?.without);
  const name = sql.raw(`"${table}"`);
  const [range] = await ctx.db.all<{ first: number | null; last: number | null }>(
    sql`select min(rowid) as first, max(rowid) as last from ${name}`,
  );
  for (let from = range?.first ?? 0; from <= (range?.last ?? -1); from += WINDOW) {
    const rows = await ctx.db.all<Record<string, unknown>>(
      sql`select * from ${name} not indexed where rowid between ${from} and ${from + WINDOW - 1} and (${where}) order by rowid`,
    );
    if (rows.length === 0) continue;
    const lines = rows.map((row) =>
      sqlJson(
        Object.fromEntries(
          Object.entries(row)
            .filter(([column]) => !without.has(column))
            .map(([column, value]) => [column, shown(column, value)]),
        ),
      ),
    );
    yield { text: `${lines.join("\n")}\n`, rows: rows.length };
  }
}

/** A stored file that is part of the archive. */
export interface ArchiveFile extends UnitFile {
  /** Path in the archive. */
  to: string;
}

/** A name as a path segment in the archive. */
const segment = (name: string) =>
  name
    .replace(/[^\p{L}\p{N}._ -]/gu, "_")
    .replace(/^\.+/, "_")
    .slice(0, 150) || "_";

/** Uploaded files, rows of datasets, and what runs stored, with their size; what is gone is left out. */
export async function filesOf(ctx: Ctx, subject: Subject, checkpoints: boolean): Promise<ArchiveFile[]> {
  const of = (table: string) => conditionOf(table, subject) ?? sql`0`;
  const found: { unit: Unit; path: string; to: string }[] = [];
  const files = await ctx.db.all<{ id: string; filename: string }>(
    sql`select id, filename from "file" where ${of("file")} order by rowid`,
  );
  for (const { id, filename } of files)
    found.push({ unit: { folder: "files", id }, path: "", to: `files/${id}/${segment(filename)}` });
  const versions = await ctx.db.all<{ id: string; dataset_id: string; number: number }>(
    sql`select id, dataset_id, "number" from dataset_version where ${of("dataset_version")} order by rowid`,
  );
  for (const { id, dataset_id, number } of versions)
    for (const split of ["train", "holdout"])
      found.push({
        unit: { folder: "datasets", id },
        path: `${split}.jsonl`,
        to: `datasets/${dataset_id}/version-${number}/${split}.jsonl`,
      });
  const artifacts = await ctx.db.all<{ id: string; job_id: string; kind: string; step: number; files: string }>(
    sql`select id, job_id, kind, step, files from artifact where status = 'complete' and (${of("artifact")}) order by rowid`,
  );
  for (const { id, job_id, kind, step, files } of artifacts) {
    if (kind === "checkpoint" && !checkpoints) continue;
    const folder = `runs/${job_id}/${kind}-step-${step}-${id}`;
    for (const { path } of JSON.parse(files) as { path: string }[])
      found.push({
        unit: { folder: "artifacts", id },
        path,
        to: `${folder}/${path.split("/").map(segment).join("/")}`,
      });
  }
  const sized: ArchiveFile[] = [];
  for (const { unit, path, to } of found) {
    const file = await unitFile(ctx, unit, path);
    if (file) sized.push({ ...file, to });
  }
  return sized;
}
