/** Notices about maintenance: scheduled, moved, canceled. Each is stored once for every account. */
import { and, eq, gt, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { maintenanceWindow } from "../../db/schema/announcements.ts";
import { recordForAll } from "../events/store.ts";
import { type MaintenanceRow, spanText } from "./model.ts";

/** What the notice of a window says now, as `noticed` keeps it. */
const current = sql<string>`case when ${maintenanceWindow.canceledAt} is not null then 'canceled'
  else ${maintenanceWindow.startsAt} || ' ' || ${maintenanceWindow.endsAt} end`;

/** Windows that say something else than their last notice. One canceled before its first notice says nothing. */
const due = (now: number) =>
  and(
    eq(maintenanceWindow.mail, true),
    gt(maintenanceWindow.endsAt, now),
    sql`coalesce(${maintenanceWindow.noticed}, iif(${maintenanceWindow.canceledAt} is null, '', 'canceled')) <> ${current}`,
  );

const EFFECT = {
  wait: "Jobs that cannot end before it start after it. Trainings that still run then save a checkpoint and resume after it.",
  interrupt:
    "Trainings save a checkpoint at its start and resume after it. Other jobs start only if they can end before it.",
} as const;

function wordsOf(row: MaintenanceRow, before: string | null) {
  const when = spanText(row.startsAt, row.endsAt);
  if (row.canceledAt !== null)
    return { type: "maintenance.canceled" as const, title: `Maintenance from ${when} is canceled`, body: row.reason };
  const endpoints = row.endpoints === "stop" ? "Endpoints stop until it ends." : "Endpoints keep running.";
  return {
    type: before === null ? ("maintenance.scheduled" as const) : ("maintenance.changed" as const),
    title: before === null ? `Maintenance from ${when}` : `Maintenance moved: from ${when}`,
    body: [row.reason, row.message, `${EFFECT[row.trainings]} ${endpoints}`].filter(Boolean).join("\n"),
  };
}

/** Stores the notices that are due: the same transaction marks the window. */
export async function announceMaintenance(ctx: Ctx): Promise<void> {
  const now = ctx.clock.now();
  const rows = await ctx.db.select().from(maintenanceWindow).where(due(now));
  for (const { id, noticed } of rows)
    await ctx.write(async (tx) => {
      const [row] = await tx
        .update(maintenanceWindow)
        .set({ noticed: current })
        .where(and(eq(maintenanceWindow.id, id), due(now)))
        .returning();
      if (!row) return;
      await recordForAll(tx, ctx, { kind: "everyone" }, { subject: id, path: "/queue", ...wordsOf(row, noticed) });
    });
}
