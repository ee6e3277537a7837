/** Who needs two-factor authentication, and by when: asked for by a team or by the setting `require_two_factor`. */
import { eq } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { installation } from "../../db/schema/audit.ts";
import { member, organization, user } from "../../db/schema/auth.ts";
import { DAY_MS } from "../../lib/clock.ts";

const ROW = "two_factor_since";

/** Since when the installation requires it; null = it does not. The time is stored when the setting is first seen. */
const installationSince = perContext(async (ctx): Promise<number | null> => {
  if (!ctx.config.require_two_factor) {
    await ctx.write((tx) => tx.delete(installation).where(eq(installation.key, ROW)));
    return null;
  }
  const value = sqlJson(ctx.clock.now());
  await ctx.write((tx) => tx.insert(installation).values({ key: ROW, value }).onConflictDoNothing());
  const [row] = await ctx.db.select().from(installation).where(eq(installation.key, ROW)).limit(1);
  return Number(row?.value ?? value);
});

/**
 * When an account must have two-factor authentication, in milliseconds since 1970; null = it need not.
 * @param account.since since when its team requires it
 */
export async function twoFactorDeadline(
  ctx: Ctx,
  account: { since: number | null; createdAt: number },
): Promise<number | null> {
  const all = await installationSince(ctx);
  const since = [account.since, all].filter((each) => each !== null);
  if (since.length === 0) return null;
  return Math.max(Math.min(...since), account.createdAt) + ctx.config.two_factor_grace_days * DAY_MS;
}

/** Whether an account may not go without two-factor authentication. */
export async function isTwoFactorRequired(ctx: Ctx, userId: string): Promise<boolean> {
  const [row] = await ctx.db
    .select({ since: organization.twoFactorSince, createdAt: user.createdAt })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .leftJoin(organization, eq(organization.id, member.organizationId))
    .where(eq(user.id, userId))
    .limit(1);
  if (!row) return false;
  return (await twoFactorDeadline(ctx, { since: row.since, createdAt: row.createdAt.getTime() })) !== null;
}
