/** Notices about the terms: a material version was published, or withdrawn before it took effect. */
import { and, eq, isNotNull, isNull, or } from "drizzle-orm";
import { pathOf, TITLES, type VersionRow } from "../../accounts/terms/model.ts";
import type { Ctx } from "../../ctx.ts";
import { termsVersion } from "../../db/schema/terms.ts";
import { recordForAll } from "../events/store.ts";

const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

/** What the notice says. */
function wordsOf(ctx: Ctx, row: VersionRow) {
  const title = TITLES[row.document];
  if (row.withdrawnAt !== null)
    return {
      type: "terms.withdrawn" as const,
      title: `${title}: version ${row.number} was withdrawn`,
      body: `It would have taken effect on ${dateOf(row.effectiveAt)}. The version in force stays.`,
      path: pathOf(row.document),
    };
  const byUse = ctx.config.terms_acceptance === "continued_use";
  const what = byUse
    ? "Who uses this installation from then on accepts it."
    : "From then on, using this installation needs your acceptance. You can accept it now.";
  return {
    type: "terms.published" as const,
    title: `${title}: a new version takes effect on ${dateOf(row.effectiveAt)}`,
    body: [row.summary, what].filter(Boolean).join("\n"),
    path: byUse ? pathOf(row.document, row.number) : "/accept-terms",
  };
}

/** Versions whose notices were not stored yet. */
const waiting = and(
  isNull(termsVersion.noticedAt),
  or(eq(termsVersion.material, true), isNotNull(termsVersion.withdrawnAt)),
);

/** Stores the notices of versions for every account, once: the same transaction marks the version. */
export async function announceTerms(ctx: Ctx): Promise<void> {
  const rows = await ctx.db.select().from(termsVersion).where(waiting);
  for (const { id } of rows)
    await ctx.write(async (tx) => {
      const [row] = await tx
        .update(termsVersion)
        .set({ noticedAt: ctx.clock.now() })
        .where(and(eq(termsVersion.id, id), waiting))
        .returning();
      if (row) await recordForAll(tx, ctx, { kind: "everyone" }, { subject: id, ...wordsOf(ctx, row) });
    });
}
