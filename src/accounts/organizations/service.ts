/** Organizations: listed for administrators of the installation, changed by their own too. */
import { and, asc, count, eq, gt, type SQL } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { member, organization, user } from "../../db/schema/auth.ts";
import { notFound } from "../../errors.ts";
import { requirePermission } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { forgetSessions } from "../auth/sessions.ts";
import { holdsOf } from "../holds/service.ts";
import type { OrganizationRow } from "./model.ts";

async function read(ctx: Ctx, condition: SQL | undefined, limit: number): Promise<OrganizationRow[]> {
  const rows = await ctx.db
    .select({
      id: organization.id,
      name: organization.name,
      createdAt: organization.createdAt,
      members: count(user.id),
      twoFactorSince: organization.twoFactorSince,
    })
    .from(organization)
    .leftJoin(member, eq(member.organizationId, organization.id))
    .leftJoin(user, and(eq(user.id, member.userId), isPerson))
    .where(condition)
    .groupBy(organization.id)
    .orderBy(asc(organization.id))
    .limit(limit);
  const holds = await holdsOf(
    ctx.db,
    "organization",
    rows.map(({ id }) => id),
  );
  return rows.map(({ createdAt, ...row }) => ({
    ...row,
    createdAt: createdAt.getTime(),
    holds: holds.get(row.id) ?? [],
  }));
}

/** Organizations by id; `after` is the last id of the previous page. */
export async function listOrganizations(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<OrganizationRow[]> {
  requireAdmin(actor);
  return read(ctx, page.after ? gt(organization.id, page.after) : undefined, page.limit);
}

/** @throws AppError `organization_not_found` */
export async function getOrganization(ctx: Ctx, actor: Actor, id: string): Promise<OrganizationRow> {
  requireAdmin(actor);
  const [row] = await read(ctx, eq(organization.id, id), 1);
  if (!row) throw notFound("organization", id);
  return row;
}

/** The name of the actor's own organization. */
export async function ownOrganization(ctx: Ctx, actor: Actor): Promise<string> {
  const [row] = await read(ctx, eq(organization.id, actor.org), 1);
  return row?.name ?? actor.org;
}

/** The actor's own organization. */
export async function readOwnOrganization(ctx: Ctx, actor: Actor): Promise<OrganizationRow> {
  requirePermission(actor, "team.read");
  const [row] = await read(ctx, eq(organization.id, actor.org), 1);
  if (!row) throw notFound("organization", actor.org);
  return row;
}

/** Owners and administrators of a team change it; those of the installation any. */
function requireManager(actor: Actor, id: string): void {
  if (id === actor.org) requirePermission(actor, "team.manage");
  else requireAdmin(actor);
}

/** Renames an organization; ids of its models keep the short name they were made with. */
export async function renameOrganization(ctx: Ctx, actor: Actor, id: string, name: string): Promise<void> {
  requireManager(actor, id);
  await ctx.write(async (tx) => {
    const [row] = await tx.select().from(organization).where(eq(organization.id, id)).limit(1);
    if (!row) throw notFound("organization", id);
    if (row.name === name) return;
    await tx.update(organization).set({ name }).where(eq(organization.id, id));
    await audit(tx, ctx, { ...actor, org: id }, "organization.rename", id, { name, before: row.name });
  });
}

/** Requires two-factor authentication of the members of an organization, or no longer. */
export async function requireTwoFactor(ctx: Ctx, actor: Actor, id: string, required: boolean): Promise<void> {
  requireManager(actor, id);
  await ctx.write(async (tx) => {
    const [row] = await tx.select().from(organization).where(eq(organization.id, id)).limit(1);
    if (!row) throw notFound("organization", id);
    if ((row.twoFactorSince !== null) === required) return;
    const twoFactorSince = required ? ctx.clock.now() : null;
    await tx.update(organization).set({ twoFactorSince }).where(eq(organization.id, id));
    await audit(tx, ctx, { ...actor, org: id }, "organization.two_factor", id, { required });
  });
  forgetSessions(ctx);
}
