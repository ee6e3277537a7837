/** Maintenance windows as administrators manage them: schedule, change, cancel, end. */
import { and, desc, eq, gt, isNull, lt, ne } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { maintenanceWindow } from "../../db/schema/announcements.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { scheduled } from "./current.ts";
import { type ChangeMaintenance, type MaintenanceRow, type ScheduleMaintenance, spanText, stateOf } from "./model.ts";

/** Drops what was read, and lets the scheduler, endpoints and notices follow. */
function changed(ctx: Ctx): void {
  scheduled.forget(ctx);
  ctx.bus.emit("maintenance.changed", {});
}

/** @throws AppError `maintenance_ends_first`, `maintenance_overlaps` */
async function check(tx: Db, ctx: Ctx, row: MaintenanceRow): Promise<void> {
  if (row.endsAt <= row.startsAt || row.endsAt <= ctx.clock.now())
    throw new AppError("invalid", "maintenance_ends_first", "It must end after it starts, and in the future.", {
      param: "ends_at",
    });
  const [other] = await tx
    .select()
    .from(maintenanceWindow)
    .where(
      and(
        ne(maintenanceWindow.id, row.id),
        isNull(maintenanceWindow.canceledAt),
        lt(maintenanceWindow.startsAt, row.endsAt),
        gt(maintenanceWindow.endsAt, row.startsAt),
      ),
    )
    .limit(1);
  if (!other) return;
  const when = spanText(other.startsAt, other.endsAt);
  throw new AppError(
    "conflict",
    "maintenance_overlaps",
    `There is a maintenance from ${when} already. Change that one, or choose other times.`,
    { param: "starts_at" },
  );
}

const facts = ({ startsAt, endsAt, reason, endpoints, trainings }: MaintenanceRow) => ({
  starts_at: new Date(startsAt).toISOString(),
  ends_at: new Date(endsAt).toISOString(),
  reason,
  endpoints,
  trainings,
});

/** @throws AppError `maintenance_ends_first`, `maintenance_overlaps` */
export async function scheduleMaintenance(ctx: Ctx, actor: Actor, given: ScheduleMaintenance): Promise<MaintenanceRow> {
  requireAdmin(actor);
  const { starts_at, ends_at, lead_seconds, reason, message, endpoints, trainings, mail } = given;
  const now = ctx.clock.now();
  const row: MaintenanceRow = {
    id: newId("maintenance"),
    startsAt: starts_at === null ? now : starts_at * 1000,
    endsAt: ends_at * 1000,
    reason,
    message,
    endpoints,
    trainings,
    leadMs: lead_seconds * 1000,
    mail,
    noticed: null,
    canceledAt: null,
    createdAt: now,
    createdBy: actor.userId,
  };
  await ctx.write(async (tx) => {
    await check(tx, ctx, row);
    await tx.insert(maintenanceWindow).values(row);
    await audit(tx, ctx, actor, "maintenance.schedule", row.id, facts(row));
  });
  changed(ctx);
  return row;
}

async function rowIn(tx: Db, id: string): Promise<MaintenanceRow> {
  const [row] = await tx.select().from(maintenanceWindow).where(eq(maintenanceWindow.id, id)).limit(1);
  if (!row) throw notFound("maintenance", id);
  return row;
}

/** Every window, newest first. */
export async function listMaintenance(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string; limit: number },
): Promise<MaintenanceRow[]> {
  requireAdmin(actor);
  const from = page.after ? await rowIn(ctx.db, page.after) : undefined;
  return ctx.db
    .select()
    .from(maintenanceWindow)
    .where(olderThan(maintenanceWindow, from))
    .orderBy(desc(maintenanceWindow.createdAt), desc(maintenanceWindow.id))
    .limit(page.limit);
}

/** @throws AppError `maintenance_not_found` */
export async function getMaintenance(ctx: Ctx, actor: Actor, id: string): Promise<MaintenanceRow> {
  requireAdmin(actor);
  return rowIn(ctx.db, id);
}

/** @throws AppError `maintenance_over` */
function requireOpen(row: MaintenanceRow, now: number): void {
  const state = stateOf(row, now);
  if (state === "ended" || state === "canceled")
    throw new AppError("conflict", "maintenance_over", `This maintenance is ${state}. Schedule a new one.`);
}

/** Changes a window in one transaction, with its audit entry. */
async function change(
  ctx: Ctx,
  actor: Actor,
  id: string,
  action: string,
  to: (row: MaintenanceRow, now: number) => Partial<MaintenanceRow>,
): Promise<MaintenanceRow> {
  requireAdmin(actor);
  const row = await ctx.write(async (tx) => {
    const before = await rowIn(tx, id);
    const now = ctx.clock.now();
    requireOpen(before, now);
    const row = { ...before, ...to(before, now) };
    if (action === "change") await check(tx, ctx, row);
    await tx.update(maintenanceWindow).set(row).where(eq(maintenanceWindow.id, id));
    await audit(tx, ctx, actor, `maintenance.${action}`, id, facts(row));
    return row;
  });
  changed(ctx);
  return row;
}

/**
 * Changes a window that has not ended, such as its end. The start of one that runs stays.
 * @throws AppError `maintenance_not_found`, `maintenance_over`, `maintenance_ends_first`, `maintenance_overlaps`
 */
export function changeMaintenance(ctx: Ctx, actor: Actor, id: string, given: ChangeMaintenance) {
  const { starts_at, ends_at, lead_seconds, ...rest } = given;
  return change(ctx, actor, id, "change", (row, now) => ({
    ...rest,
    ...(starts_at === undefined || row.startsAt <= now
      ? {}
      : { startsAt: starts_at === null ? now : starts_at * 1000 }),
    ...(ends_at === undefined ? {} : { endsAt: ends_at * 1000 }),
    ...(lead_seconds === undefined ? {} : { leadMs: lead_seconds * 1000 }),
  }));
}

/**
 * Cancels a window before its start.
 * @throws AppError `maintenance_not_found`, `maintenance_over`, `maintenance_started`
 */
export function cancelMaintenance(ctx: Ctx, actor: Actor, id: string) {
  return change(ctx, actor, id, "cancel", (row, now) => {
    if (row.startsAt <= now)
      throw new AppError("conflict", "maintenance_started", "The maintenance has started. End it instead.");
    return { canceledAt: now };
  });
}

/**
 * Ends a window that runs: jobs and endpoints resume.
 * @throws AppError `maintenance_not_found`, `maintenance_over`, `maintenance_not_started`
 */
export function endMaintenance(ctx: Ctx, actor: Actor, id: string) {
  return change(ctx, actor, id, "end", (row, now) => {
    if (row.startsAt > now)
      throw new AppError("conflict", "maintenance_not_started", "The maintenance has not started. Cancel it instead.");
    return { endsAt: now };
  });
}
