/** Moves a provisioned user to the team and role of the pushed groups, as the groups claim does at a sign-in. */
import { and, eq } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { member, user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { audit } from "../audit/service.ts";
import { endSessions } from "../auth/sessions.ts";
import { forgetAccount, requireOtherOwner } from "../organizations/members.ts";
import { defaultPlace, mappedPlace, moveTo, provisionedGroups } from "../sso/place.ts";
import { actorFor, type Caller } from "./connection.ts";

/**
 * Takes a user out of their team: no group has access any more. Keys are refused, and work again with a group. The last
 * owner of a team stays.
 */
async function leave(ctx: Ctx, caller: Caller, id: string, org: string): Promise<void> {
  try {
    await ctx.write(async (tx) => {
      await requireOtherOwner(tx, org, id);
      await tx.delete(member).where(and(eq(member.userId, id), eq(member.organizationId, org)));
      await endSessions(tx, id);
      await audit(tx, ctx, actorFor(caller, org), "member.remove", id, { provider: caller.provider.id });
    });
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "last_owner") throw error;
    ctx.log("warn", "an owner stays in the team although no group says so", { user: id, reason: error.code });
    return;
  }
  forgetAccount(ctx, id);
}

/**
 * Puts a user where the groups say. Without a list of groups, team and role of accounts that exist stay.
 * @param how.onlyNew the user was just created: nobody without a group is taken out of a team
 */
export async function placeUser(ctx: Ctx, caller: Caller, id: string, how: { onlyNew?: boolean } = {}): Promise<void> {
  const { provider } = caller;
  const [found] = await ctx.db
    .select({ id: user.id, role: user.role, org: member.organizationId, teamRole: member.role })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(user.id, id))
    .limit(1);
  if (!found) return;
  const mapped = mappedPlace(provider, await provisionedGroups(ctx.db, provider.id, id));
  const keeps = found.org !== null && !mapped && (how.onlyNew || provider.groups.length === 0);
  const place = mapped ?? defaultPlace(provider);
  if (keeps) return;
  if (place) await moveTo(ctx, { ...found, org: found.org ?? "" }, place);
  else if (found.org !== null) await leave(ctx, caller, id, found.org);
}
