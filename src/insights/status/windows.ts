/** Planned maintenance of the installation, which does not count as an outage. */
import { and, gt, isNull, lt } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { maintenanceWindow } from "../../db/schema/announcements.ts";
import type { Span } from "./intervals.ts";

/** Windows that were not canceled and overlap a span. One that was ended early ends then. */
export function plannedWindows(ctx: Ctx, { from, until }: Span): Promise<Span[]> {
  const { startsAt, endsAt, canceledAt } = maintenanceWindow;
  return ctx.db
    .select({ from: startsAt, until: endsAt })
    .from(maintenanceWindow)
    .where(and(isNull(canceledAt), lt(startsAt, until), gt(endsAt, from)));
}
