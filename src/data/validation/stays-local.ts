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

/**
 * Labels the trainings on datasets, and those that continue from their models. A model whose label somebody took away
 * gets it again: what has been labeled now is other data.
 */
async function labelTrainings(tx: Db, datasetIds: readonly string[]): Promise<void> {
  if (datasetIds.length === 0) return;
  const ids = sqlJson(datasetIds);
  const labeled = await tx.all<{ id: string }>(sql`
    with recursive origin(child, parent) as materialized (
      select j.id, a.job_id from job j join artifact a on a.id = json_extract(j.spec, '$.start.artifact_id')
        where j.kind = 'train'
      union all select id, json_extract(metadata, '$.continues') from job
        where kind = 'train' and json_extract(metadata, '$.continues') is not null
      union all select j.id, c.job_id from base_model b join checkpoint c on c.id = b.revision
        join job j on json_extract(j.spec, '$.base_model.id') = b.id and j.kind = 'train' where b.source = 'tuned'),
    kept(id) as (
      select id from job where kind = 'train'
        and (json_extract(spec, '$.dataset.dataset_id') in (select value from json_each(${ids}))
          or json_extract(spec, '$.validation.dataset_id') in (select value from json_each(${ids})))
      union select o.child from kept k join origin o on o.parent = k.id)
    select id from kept`);
  if (labeled.length === 0) return;
  const jobs = sqlJson(labeled.map(({ id }) => id));
  await tx.run(sql`update job set stays_local = 1 where id in (select value from json_each(${jobs}))`);
  await tx.run(sql`update base_model set stays_local = 1 where source = 'tuned' and revision in (
    select id from checkpoint where job_id in (select value from json_each(${jobs})))`);
}

/**
 * Labels a dataset whose new version has the same file as one that stays here, whatever the file is called, and the
 * models trained on it.
 */
export async function inheritLabel(tx: Db, of: { id: string; org: string }, fileId: string): Promise<void> {
  const labeled = await tx.all<{ id: string }>(sql`
    update dataset set stays_local = 1 where id = ${of.id} and stays_local = 0 and exists (
      select 1 from dataset d
      join dataset_version v on v.dataset_id = d.id
      join file f on f.id = v.file_id
      where d.org = ${of.org} and d.stays_local = 1
        and f.sha256 = (select sha256 from file where id = ${fileId}))
    returning id`);
  await labelTrainings(
    tx,
    labeled.map(({ id }) => id),
  );
}

/** Labels datasets, every other one of the organization that has a version of the same file, and their models. */
export async function labelWithCopies(tx: Db, org: string, datasetIds: readonly string[]): Promise<void> {
  const ids = sqlJson(datasetIds);
  const labeled = await tx.all<{ id: string }>(sql`
    update dataset set stays_local = 1 where org = ${org} and stays_local = 0 and (
      id in (select value from json_each(${ids}))
      or id in (
        select v.dataset_id from dataset_version v join file f on f.id = v.file_id
        where v.org = ${org} and f.sha256 in (
          select mine.sha256 from dataset_version w join file mine on mine.id = w.file_id
          where w.dataset_id in (select value from json_each(${ids})))))
    returning id`);
  await labelTrainings(
    tx,
    labeled.map(({ id }) => id),
  );
}
