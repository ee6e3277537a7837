/** Who owns the objects of a team: whoever created them, until they are handed over to another member. */
import { and, eq } from "drizzle-orm";
import { dataset, file } from "../../db/schema/datasets.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { evaluation } from "../../db/schema/evaluations.ts";
import { job } from "../../db/schema/jobs.ts";
import { model } from "../../db/schema/models.ts";
import { webhookEndpoint } from "../../db/schema/notices.ts";
import { sweep } from "../../db/schema/sweeps.ts";
import type { Db } from "../../db/types.ts";

/** The tables of objects that belong to somebody, by their kind. */
const OWNED = {
  dataset,
  deployment,
  evaluation,
  file,
  job,
  model,
  sweep,
  webhook: webhookEndpoint,
};

/** Gives everything that a member owns in a team to another one. @returns how many objects */
export async function handOver(tx: Db, org: string, from: string, to: string): Promise<number> {
  let count = 0;
  for (const table of Object.values(OWNED)) {
    const moved = await tx
      .update(table)
      .set({ createdBy: to })
      .where(and(eq(table.org, org), eq(table.createdBy, from)))
      .returning({ id: table.id });
    count += moved.length;
  }
  return count;
}
