/** Organizations of the installation, for its administrators. */
import { asc, gt } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import type { OrganizationRow } from "./model.ts";

/** Organizations by id; `after` is the last id of the previous page. */
export async function listOrganizations(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<OrganizationRow[]> {
  requireAdmin(actor);
  const rows = await ctx.db
    .select()
    .from(organization)
    .where(page.after ? gt(organization.id, page.after) : undefined)
    .orderBy(asc(organization.id))
    .limit(page.limit);
  return rows.map((row) => ({ id: row.id, name: row.name, createdAt: row.createdAt.getTime() }));
}
