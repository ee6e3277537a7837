/** Deletes rows of the tables in pieces, and the files that they name. */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type SQL, sql } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { objectDeletion } from "../db/schema/datasets.ts";
import { AppError } from "../errors.ts";
import { dropUnit } from "../objects/keep.ts";

/** Rows that one write deletes, so that others wait little. */
const PIECE = 20_000;

/** Deletes the rows that `where` selects. @returns how many */
export async function deleteRows(ctx: Ctx, table: string, where: SQL): Promise<number> {
  const name = sql.identifier(table);
  let count = 0;
  for (;;) {
    const { rowsAffected } = await ctx.write((tx) =>
      tx.run(sql`delete from ${name} where rowid in (select rowid from ${name} where ${where} limit ${PIECE})`),
    );
    count += rowsAffected;
    if (rowsAffected < PIECE) return count;
  }
}

/** How many rows of a table `where` selects. */
export async function countRows(ctx: Ctx, table: string, where: SQL): Promise<number> {
  const [row] = await ctx.db.all<{ n: number }>(sql`select count(*) as n from ${sql.identifier(table)} where ${where}`);
  return row?.n ?? 0;
}

/** Folders with something for each id; what has such a name, or begins with it and a point, is removed. */
type Folder = "archives" | "artifacts" | "datasets" | "files" | "subjects" | "uploads";

async function idsOf(ctx: Ctx, table: string, org: string): Promise<string[]> {
  const rows = await ctx.db.all<{ id: string }>(sql`select id from ${sql.identifier(table)} where org = ${org}`);
  return rows.map(({ id }) => id);
}

const FOLDERS: [Folder, string][] = [
  ["archives", "archive"],
  ["artifacts", "artifact"],
  ["datasets", "dataset_version"],
  ["files", "file"],
  ["subjects", "subject_request"],
  ["uploads", "upload"],
];

/**
 * Removes the files of the archives of an account, while their rows still name them.
 * @throws AppError `object_store_unavailable` until the bucket has confirmed it
 */
export async function removeOwnArchives(ctx: Ctx, where: SQL): Promise<void> {
  const rows = await ctx.db.all<{ id: string }>(sql`select id from archive where ${where}`);
  for (const { id } of rows) {
    await dropUnit(ctx, { folder: "archives", id });
    await rm(ctx.files.path("archives", `${id}.part`), { force: true });
    const [left] = await ctx.db
      .select({ key: objectDeletion.key })
      .from(objectDeletion)
      .where(sql`instr(${objectDeletion.key}, ${`/archives/${id}/`}) > 0`)
      .limit(1);
    if (left)
      throw new AppError(
        "unavailable",
        "object_store_unavailable",
        `The bucket has not removed the archive ${id} yet.`,
      );
  }
}

/** Removes the files of an organization, while its rows still name them. */
export async function removeFiles(ctx: Ctx, org: string): Promise<void> {
  const remove = (path: string) => rm(path, { recursive: true, force: true });
  for (const [folder, table] of FOLDERS)
    for (const id of await idsOf(ctx, table, org)) {
      if (folder === "subjects" || folder === "uploads") await remove(ctx.files.path(folder, id));
      else await dropUnit(ctx, { folder, id });
      await remove(ctx.files.path(folder, `${id}.part`));
    }
  for (const id of await idsOf(ctx, "dataset_import", org)) await remove(ctx.files.path("tmp", `import-${id}`));
  // What providers on this machine keep of an attempt: its folder is named after it.
  const keys = (await idsOf(ctx, "attempt", org)).map((id) => id.replaceAll("_", "-"));
  const places = [ctx.files.path("process")];
  for (const name of await readdir(ctx.files.path("plugins")).catch(() => []))
    if (name.startsWith(".data-")) places.push(join(ctx.files.path("plugins"), name));
  for (const place of places) for (const key of keys) await remove(join(place, key));
}
