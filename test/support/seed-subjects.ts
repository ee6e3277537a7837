/** A seeded search for a person: real hits in the seeded datasets. */

import type { Actor, Ctx } from "../../src/ctx.ts";
import { search, wantedOf } from "../../src/custody/subjects/search.ts";
import { subjectRequest } from "../../src/db/schema/archives.ts";
import { sealedIn } from "../../src/db/sealed-columns.ts";
import { seal } from "../../src/lib/sealed.ts";
import { HOUR, idOf } from "./seed-rows.ts";

const DAY = 24 * HOUR;

/** Adds a search that is done. */
export async function addSubjects(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  const terms = ["Jane Doe", "jane.doe@example.com"];
  const id = idOf("subj_", 0);
  const values = {
    id,
    org: actor.org,
    status: "done" as const,
    terms: seal(ctx.secret, sealedIn("subject", id), JSON.stringify(terms)),
    match: "any" as const,
    reference: "DSR-117",
    createdBy: actor.userId,
    createdAt: now - HOUR,
    finishedAt: now - HOUR,
    expiresAt: now + 30 * DAY,
  };
  const [row] = await ctx.write((tx) => tx.insert(subjectRequest).values(values).returning());
  if (!row) return;
  const { result, hits, rows } = await search(ctx, row, wantedOf(terms, "any"), () => {});
  await ctx.write((tx) => tx.update(subjectRequest).set({ result, hits, rowsDone: rows, rowsTotal: rows }));
}
