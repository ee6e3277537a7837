/** Archives of a user or an organization: create, list, download and delete. */
import { and, desc, eq, inArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { archive } from "../../db/schema/archives.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { type Download, downloadOf } from "../../objects/downloads.ts";
import { dropUnit } from "../../objects/keep.ts";
import { can, requirePermission } from "../../roles.ts";
import type { ArchiveRow, CreateArchive } from "./model.ts";
import { announceArchive, archiveQueue, archiveUnit, OPEN } from "./run.ts";

const SHOWN = 50;

/** The archives of a scope that an actor may see: their own, or all of the organization. */
const visible = (actor: Actor, scope: ArchiveRow["scope"]) =>
  and(eq(archive.scope, scope), scope === "user" ? eq(archive.createdBy, actor.userId) : eq(archive.org, actor.org));

/** Only owners and administrators export an organization. @throws AppError `permission_denied` */
function requireScope(actor: Actor, scope: ArchiveRow["scope"]): void {
  if (scope === "organization") requirePermission(actor, "team.export");
}

/** The newest archives of a scope. */
export async function listArchives(ctx: Ctx, actor: Actor, scope: ArchiveRow["scope"]): Promise<ArchiveRow[]> {
  requireScope(actor, scope);
  return ctx.db
    .select()
    .from(archive)
    .where(visible(actor, scope))
    .orderBy(desc(archive.createdAt), desc(archive.id))
    .limit(SHOWN);
}

/** An archive that the actor may see. @throws AppError `archive_not_found` */
export async function getArchive(ctx: Ctx, actor: Actor, id: string): Promise<ArchiveRow> {
  const [row] = await ctx.db.select().from(archive).where(eq(archive.id, id));
  const ofTeam = row?.org === actor.org && can(actor, "team.export");
  if (!row || !(row.scope === "user" ? row.createdBy === actor.userId : ofTeam)) throw notFound("archive", id);
  return row;
}

/** Starts an archive. @throws AppError `archive_running` while another one of the same scope is unfinished */
export async function createArchive(
  ctx: Ctx,
  actor: Actor,
  { scope, checkpoints }: CreateArchive,
): Promise<ArchiveRow> {
  requireScope(actor, scope);
  const row = await ctx.write(async (tx) => {
    const [open] = await tx
      .select({ id: archive.id })
      .from(archive)
      .where(and(visible(actor, scope), inArray(archive.status, OPEN)));
    if (open)
      throw new AppError(
        "conflict",
        "archive_running",
        "An archive is being written already. Wait until it is finished, or cancel it.",
      );
    const values = {
      id: newId("archive"),
      org: actor.org,
      scope,
      checkpoints,
      status: "waiting" as const,
      createdBy: actor.userId,
      createdAt: ctx.clock.now(),
    };
    const [made] = await tx.insert(archive).values(values).returning();
    await audit(tx, ctx, actor, "archive.create", values.id, { scope, checkpoints });
    return made as ArchiveRow;
  });
  announceArchive(ctx, row);
  archiveQueue(ctx).kick();
  return row;
}

/**
 * Where a finished archive is read, and its name; the download is in the audit log.
 * @throws AppError `archive_unfinished`
 */
export async function downloadArchive(ctx: Ctx, actor: Actor, id: string): Promise<{ from: Download; name: string }> {
  const row = await getArchive(ctx, actor, id);
  if (row.status !== "done")
    throw new AppError("conflict", "archive_unfinished", `The archive cannot be downloaded: it is ${row.status}.`);
  await ctx.write((tx) => audit(tx, ctx, actor, "archive.download", id, {}));
  const day = new Date(row.finishedAt ?? row.createdAt).toISOString().slice(0, 10);
  const name = `fine-tune-lab-${row.scope}-${day}.zip`;
  return { from: await downloadOf(ctx, archiveUnit(id), "", name), name };
}

/** Cancels an unfinished archive, or deletes the file of a finished one. */
export async function deleteArchive(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await getArchive(ctx, actor, id);
  await ctx.write(async (tx) => {
    await tx.delete(archive).where(eq(archive.id, id));
    await audit(tx, ctx, actor, "archive.delete", id, { scope: row.scope });
  });
  archiveQueue(ctx).stop(id);
  await dropUnit(ctx, archiveUnit(id));
  announceArchive(ctx, row);
}
