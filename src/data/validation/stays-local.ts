/** Datasets that stay on this server: the label, and what inherits it. */
import { and, eq, inArray, sql } from "drizzle-orm";
import { sqlJson } from "../../db/json.ts";
import { dataset } from "../../db/schema/datasets.ts";
import type { Db } from "../../db/types.ts";

/** The names of those datasets that stay here, deleted ones included. */
export async function stayingHere(db: Db, datasetIds: readonly string[]): Promise<string[]> {
  if (datasetIds.length === 0) return [];
  const rows = await db
    .select({ name: dataset.name })
    .from(dataset)
    .where(and(inArray(dataset.id, [...datasetIds]), eq(dataset.staysLocal, true)))
    .orderBy(dataset.name);
  return rows.map(({ name }) => name);
}

/** Labels a dataset whose new version has the same file as one that stays here, whatever the file is called. */
export async function inheritLabel(tx: Db, of: { id: string; org: string }, fileId: string): Promise<void> {
  await tx.run(sql`
    update dataset set stays_local = 1 where id = ${of.id} and stays_local = 0 and exists (
      select 1 from dataset d
      join dataset_version v on v.dataset_id = d.id
      join file f on f.id = v.file_id
      where d.org = ${of.org} and d.stays_local = 1
        and f.sha256 = (select sha256 from file where id = ${fileId}))`);
}

/** Labels datasets, and every other one of the organization that has a version of the same file. */
export async function labelWithCopies(tx: Db, org: string, datasetIds: readonly string[]): Promise<void> {
  const ids = sqlJson(datasetIds);
  await tx.run(sql`
    update dataset set stays_local = 1 where org = ${org} and (
      id in (select value from json_each(${ids}))
      or id in (
        select v.dataset_id from dataset_version v join file f on f.id = v.file_id
        where v.org = ${org} and f.sha256 in (
          select mine.sha256 from dataset_version w join file mine on mine.id = w.file_id
          where w.dataset_id in (select value from json_each(${ids})))))`);
}
