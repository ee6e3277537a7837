/** Checks whether an unfinished job needs a file or a dataset. */

import { and, inArray, or, type SQL, sql } from "drizzle-orm";
import { OPEN_STATES } from "../../contract/job.ts";
import { sqlJson } from "../../db/json.ts";
import { job } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";

/**
 * Where a job refers to its data: in the frozen spec, and in the request (a job that waits for validation has no spec).
 */
const PLACES: [typeof job.spec | typeof job.request, string][] = [
  [job.spec, "$.dataset.file_id"],
  [job.spec, "$.dataset.dataset_id"],
  [job.spec, "$.dataset.version_id"],
  [job.spec, "$.validation.file_id"],
  [job.spec, "$.validation.dataset_id"],
  [job.spec, "$.validation.version_id"],
  [job.request, "$.training_file"],
  [job.request, "$.validation_file"],
];

/** States of jobs that need their data; one that is stopping does not. */
const NEEDING = OPEN_STATES.filter((state) => state !== "stopping");

/** Id of an unfinished job that uses one of `ids` (files, datasets or versions), or null. */
export async function liveJobUsing(db: Db, ids: string[]): Promise<string | null> {
  if (ids.length === 0) return null;
  const list = sql`(select value from json_each(${sqlJson(ids)}))`;
  const named: SQL[] = PLACES.map(([column, path]) => sql`json_extract(${column}, ${path}) in ${list}`);
  const [row] = await db
    .select({ id: job.id })
    .from(job)
    .where(and(inArray(job.state, NEEDING), or(...named)))
    .limit(1);
  return row?.id ?? null;
}
