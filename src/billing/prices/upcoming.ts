/** Price lists that take effect later: what an organization is shown of them, and hiding the banner of a raise. */
import { and, asc, eq, gt, isNull } from "drizzle-orm";
import { type Actor, type Ctx, keptRead } from "../../ctx.ts";
import { bannerDismissal } from "../../db/schema/announcements.ts";
import { priceList } from "../../db/schema/billing.ts";
import { notFound } from "../../errors.ts";
import type { PriceListRow } from "./model.ts";

/** Lists that take effect later, the next one first; read once and after each change. */
export const laterLists = keptRead(
  async (ctx): Promise<readonly PriceListRow[]> =>
    ctx.db
      .select()
      .from(priceList)
      .where(and(isNull(priceList.withdrawnAt), gt(priceList.effectiveAt, ctx.clock.now())))
      .orderBy(asc(priceList.effectiveAt)),
);

/** Lists for an organization that take effect later, the next one first. */
export async function upcomingFor(ctx: Ctx, org: string): Promise<PriceListRow[]> {
  const now = ctx.clock.now();
  return (await laterLists.get(ctx)).filter((row) => row.effectiveAt > now && (row.org === null || row.org === org));
}

/** Raises that the organization of a viewer was notified of, without those whose banner the viewer has hidden. */
export async function announcedFor(ctx: Ctx, actor: Actor): Promise<PriceListRow[]> {
  const rows = (await upcomingFor(ctx, actor.org)).filter((row) => row.announcedAt !== null);
  if (rows.length === 0) return [];
  const hidden = await ctx.db
    .select({ subject: bannerDismissal.subject })
    .from(bannerDismissal)
    .where(eq(bannerDismissal.userId, actor.userId));
  return rows.filter(({ id }) => !hidden.some(({ subject }) => subject === id));
}

/**
 * Hides the banner of a raise from the actor.
 * @throws AppError `price_list_not_found`
 */
export async function hidePrices(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  if (!(await upcomingFor(ctx, actor.org)).some((row) => row.id === id)) throw notFound("price_list", id);
  const values = { userId: actor.userId, subject: id, createdAt: ctx.clock.now() };
  await ctx.write((tx) => tx.insert(bannerDismissal).values(values).onConflictDoNothing());
}
