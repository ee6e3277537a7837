/** Checkpoints that an organization shares with others of the installation: who may use one. */
import { and, asc, desc, eq, inArray, type SQL, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { checkpoint, checkpointPermission, model } from "../../db/schema/models.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { findTuned, sharedWith, unknownModel } from "./lookup.ts";

export type PermissionRow = typeof checkpointPermission.$inferSelect;

/** The checkpoint `name` of `actor`'s own organization, or the one that the fine-tuned model `name` was made from. */
async function ownCheckpoint(ctx: Ctx, actor: Actor, name: string): Promise<string> {
  requireAdmin(actor);
  const found = await findTuned(ctx, actor.org, name);
  if (!found) throw unknownModel(name);
  return found.checkpointId;
}

/**
 * Lets organizations use a checkpoint. Those that may already keep their permission.
 * @throws AppError `model_not_found`, `project_not_found`, `own_project`
 */
export async function shareCheckpoint(
  ctx: Ctx,
  actor: Actor,
  name: string,
  orgs: readonly string[],
): Promise<PermissionRow[]> {
  const checkpointId = await ownCheckpoint(ctx, actor, name);
  const wanted = [...new Set(orgs)];
  if (wanted.includes(actor.org))
    throw new AppError(
      "invalid",
      "own_project",
      "The checkpoint belongs to this organization: it needs no permission.",
      {
        param: "project_ids",
      },
    );
  return ctx.write(async (tx) => {
    const known = await tx.select({ id: organization.id }).from(organization).where(inArray(organization.id, wanted));
    const missing = wanted.find((id) => !known.some((row) => row.id === id));
    if (missing !== undefined)
      throw new AppError("invalid", "project_not_found", `No such organization: ${missing.slice(0, 100)}`, {
        param: "project_ids",
      });
    const stamps = { checkpointId, createdBy: actor.userId, createdAt: ctx.clock.now() };
    const added = await tx
      .insert(checkpointPermission)
      .values(wanted.map((org) => ({ id: newId("permission"), org, ...stamps })))
      .onConflictDoNothing()
      .returning();
    for (const { id, org } of added) await audit(tx, ctx, actor, "checkpoint.share", name, { permission: id, org });
    return tx
      .select()
      .from(checkpointPermission)
      .where(and(eq(checkpointPermission.checkpointId, checkpointId), inArray(checkpointPermission.org, wanted)))
      .orderBy(asc(checkpointPermission.id));
  });
}

interface PermissionQuery {
  after?: string;
  limit: number;
  order: "ascending" | "descending";
  project_id?: string;
}

/** The permissions of a checkpoint by creation time: up to `limit + 1`, the extra one shows that there are more. */
export async function listPermissions(
  ctx: Ctx,
  actor: Actor,
  name: string,
  query: PermissionQuery,
): Promise<PermissionRow[]> {
  const checkpointId = await ownCheckpoint(ctx, actor, name);
  const from = query.after ? await getPermission(ctx, checkpointId, query.after) : null;
  const place: SQL = sql`(${checkpointPermission.createdAt}, ${checkpointPermission.id})`;
  const beyond = query.order === "ascending" ? sql.raw(">") : sql.raw("<");
  const direction = query.order === "ascending" ? asc : desc;
  return ctx.db
    .select()
    .from(checkpointPermission)
    .where(
      and(
        eq(checkpointPermission.checkpointId, checkpointId),
        query.project_id === undefined ? undefined : eq(checkpointPermission.org, query.project_id),
        from ? sql`${place} ${beyond} (${from.createdAt}, ${from.id})` : undefined,
      ),
    )
    .orderBy(direction(checkpointPermission.createdAt), direction(checkpointPermission.id))
    .limit(query.limit + 1);
}

async function getPermission(ctx: Ctx, checkpointId: string, id: string): Promise<PermissionRow> {
  const [row] = await ctx.db
    .select()
    .from(checkpointPermission)
    .where(and(eq(checkpointPermission.id, id), eq(checkpointPermission.checkpointId, checkpointId)))
    .limit(1);
  if (!row) throw notFound("permission", id.slice(0, 100));
  return row;
}

/**
 * Ends a permission. Endpoints that the other organization has for the checkpoint stop.
 * @throws AppError `model_not_found`, `permission_not_found`
 */
export async function unshareCheckpoint(ctx: Ctx, actor: Actor, name: string, id: string): Promise<void> {
  const { org, checkpointId } = await getPermission(ctx, await ownCheckpoint(ctx, actor, name), id);
  const models = await ctx.write(async (tx) => {
    await tx.delete(checkpointPermission).where(eq(checkpointPermission.id, id));
    await audit(tx, ctx, actor, "checkpoint.unshare", name, { permission: id, org });
    const names = await tx.select({ id: checkpoint.model }).from(checkpoint).where(eq(checkpoint.id, checkpointId));
    const made = await tx.select({ id: model.id }).from(model).where(eq(model.checkpointId, checkpointId));
    return [...names, ...made].map((row) => row.id);
  });
  ctx.bus.emit("checkpoint.unshared", { org, models });
}

/** Whether the files of a checkpoint are shared with `org`. */
export async function isSharedArtifact(ctx: Ctx, org: string, artifactId: string): Promise<boolean> {
  const [row] = await ctx.db
    .select({ id: checkpoint.id })
    .from(checkpoint)
    .where(and(eq(checkpoint.artifactId, artifactId), sharedWith(org)))
    .limit(1);
  return row !== undefined;
}
