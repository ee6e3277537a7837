/** The maintenance windows that run or are scheduled: for the scheduler, endpoints, pages and banners. */
import { and, eq, gt, isNull } from "drizzle-orm";
import { type Actor, type Ctx, keptRead } from "../../ctx.ts";
import { bannerDismissal, maintenanceWindow } from "../../db/schema/announcements.ts";
import { AppError, notFound } from "../../errors.ts";
import type { MaintenanceRow } from "./model.ts";

/** Windows that had not ended when they were read; read once and after each change. */
export const scheduled = keptRead(
  async (ctx): Promise<readonly MaintenanceRow[]> =>
    ctx.db
      .select()
      .from(maintenanceWindow)
      .where(and(isNull(maintenanceWindow.canceledAt), gt(maintenanceWindow.endsAt, ctx.clock.now())))
      .orderBy(maintenanceWindow.startsAt, maintenanceWindow.id),
);

/** Windows that run or are scheduled, the next one first. */
export async function plannedMaintenance(ctx: Ctx): Promise<MaintenanceRow[]> {
  const now = ctx.clock.now();
  return (await scheduled.get(ctx)).filter((row) => row.endsAt > now);
}

/** The window that runs now and stops endpoints; null = none. */
export async function stopsEndpoints(ctx: Ctx): Promise<MaintenanceRow | null> {
  const now = ctx.clock.now();
  return (await plannedMaintenance(ctx)).find((row) => row.startsAt <= now && row.endpoints === "stop") ?? null;
}

/** What a user hides is one version of a window: its changed times show again. */
const subjectOf = ({ id, startsAt, endsAt }: MaintenanceRow) => `${id} ${startsAt} ${endsAt}`;

/** Whether a user may hide the banner of a window: until it starts. */
const isHideable = (row: MaintenanceRow, now: number) => row.startsAt > now;

/** Windows whose banner a user sees. */
export async function maintenanceFor(ctx: Ctx, actor: Actor): Promise<MaintenanceRow[]> {
  const rows = await plannedMaintenance(ctx);
  const now = ctx.clock.now();
  if (!rows.some((row) => isHideable(row, now))) return rows;
  const hidden = await ctx.db
    .select({ subject: bannerDismissal.subject })
    .from(bannerDismissal)
    .where(eq(bannerDismissal.userId, actor.userId));
  return rows.filter((row) => !isHideable(row, now) || !hidden.some(({ subject }) => subject === subjectOf(row)));
}

/**
 * Hides the banner of a scheduled window from the actor, until its times change or it starts.
 * @throws AppError `maintenance_not_found`, `maintenance_started`
 */
export async function hideMaintenance(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = (await plannedMaintenance(ctx)).find((one) => one.id === id);
  if (!row) throw notFound("maintenance", id);
  const now = ctx.clock.now();
  if (!isHideable(row, now))
    throw new AppError(
      "conflict",
      "maintenance_started",
      "The maintenance has started; its banner stays until it ends.",
    );
  const values = { userId: actor.userId, subject: subjectOf(row), createdAt: now };
  await ctx.write((tx) => tx.insert(bannerDismissal).values(values).onConflictDoNothing());
}
