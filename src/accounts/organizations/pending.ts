/** Invitations that were not used yet: administrators list, revoke and renew them. */
import { and, desc, eq, type SQL } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { invitation } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { notFound } from "../../errors.ts";
import { can, requirePermission } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { createInvitation, invitedRoles, type WithInvitation } from "./invitations.ts";
import type { Invitation } from "./model.ts";

type Row = typeof invitation.$inferSelect;

const invitationOf = (row: Row): Invitation => ({
  id: row.id,
  email: row.email,
  ...invitedRoles(row),
  org: row.organizationId,
  expiresAt: row.expiresAt.getTime(),
});

/** Administrators of the installation see every team's invitations, those of a team its own. */
function visible(actor: Actor): SQL | undefined {
  if (can(actor, "installation")) return undefined;
  requirePermission(actor, "members.manage");
  return eq(invitation.organizationId, actor.org);
}

async function find(db: Db, actor: Actor, id: string): Promise<Row> {
  const [row] = await db
    .select()
    .from(invitation)
    .where(and(eq(invitation.id, id), eq(invitation.status, "pending"), visible(actor)))
    .limit(1);
  if (!row) throw notFound("invitation", id);
  return row;
}

/** Pending invitations of the installation or of one team, newest first; expired ones too. */
export async function listInvitations(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number; org?: string },
): Promise<Invitation[]> {
  const last = page.after ? await find(ctx.db, actor, page.after) : undefined;
  const cursor = last && { id: last.id, createdAt: last.createdAt.getTime() };
  const rows = await ctx.db
    .select()
    .from(invitation)
    .where(
      and(
        eq(invitation.status, "pending"),
        page.org ? eq(invitation.organizationId, page.org) : undefined,
        visible(actor),
        olderThan(invitation, cursor),
      ),
    )
    .orderBy(desc(invitation.createdAt), desc(invitation.id))
    .limit(page.limit);
  return rows.map(invitationOf);
}

/**
 * Revokes an invitation: its link stops working at once.
 * @param also what else happens in the same transaction
 * @throws AppError `invitation_not_found`
 */
export async function revokeInvitation(
  ctx: Ctx,
  actor: Actor,
  id: string,
  also: (tx: Db, invitation: Invitation) => Promise<void>,
): Promise<void> {
  await ctx.write(async (tx) => {
    const row = await find(tx, actor, id);
    await tx.update(invitation).set({ status: "canceled", tokenHash: null }).where(eq(invitation.id, id));
    await audit(tx, ctx, actor, "invitation.revoke", id, { email: row.email });
    await also(tx, invitationOf(row));
  });
}

/** Replaces an invitation by one with a new link and a new week. @returns the token, shown only once */
export async function renewInvitation(
  ctx: Ctx,
  actor: Actor,
  id: string,
  also?: WithInvitation,
): Promise<{ invitation: Invitation; token: string }> {
  const { email, role, teamRole, org } = invitationOf(await find(ctx.db, actor, id));
  return createInvitation(ctx, actor, { email, role, teamRole, org }, also);
}
