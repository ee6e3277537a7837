/** The status page's content: components with their history, open incidents, planned maintenance. */
import { gte } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { statusDay } from "../../db/schema/status.ts";
import { AppError } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { seconds } from "../../lib/request-fields.ts";
import { plannedMaintenance } from "../../notices/maintenance/current.ts";
import { type Component, currentComponents } from "./components.ts";
import { openIncidents } from "./incidents.ts";

import type { ComponentState, ComponentView, IncidentView, StatusView } from "./model.ts";
import { KEPT_DAYS } from "./record.ts";
import { keptSummary } from "./summary-cache.ts";
import { type DayTimes, dayViews, monthViews, uptimeOf } from "./uptime.ts";

/** From best to worst. */
const ORDER: ComponentState[] = ["unused", "operational", "maintenance", "degraded", "down"];

const worst = (states: ComponentState[]): ComponentState =>
  states.reduce((most, state) => (ORDER.indexOf(state) > ORDER.indexOf(most) ? state : most), "unused");

/**
 * What visitors see: the state of the probe, or that a planned maintenance runs. What an open incident says of the
 * component counts either way, because an administrator posted it.
 * @param running when the maintenance that runs began, in milliseconds since 1970; null = none runs
 */
function shownOf({ id, row }: Component, incidents: IncidentView[], running: number | null) {
  const planned = running !== null && row.state !== "unused";
  const found: ComponentState = planned ? "maintenance" : row.state;
  const said = incidents
    .filter((one) => one.components.some((component) => component.id === id))
    .map(({ impact }): ComponentState => (impact === "major" ? "down" : impact === "minor" ? "degraded" : "unused"));
  const state = worst([found, ...said]);
  return { state, since: seconds(state === "maintenance" && running !== null ? running : row.since) };
}

async function read(ctx: Ctx): Promise<StatusView> {
  const now = ctx.clock.now();
  const last = Math.floor(now / DAY_MS);
  const first = last - KEPT_DAYS + 1;
  const components = (await currentComponents(ctx)).filter(({ row }) => !row.hidden);
  const times = await ctx.db.select().from(statusDay).where(gte(statusDay.day, first)).orderBy(statusDay.day);
  const incidents = await openIncidents(ctx);
  const maintenance = await plannedMaintenance(ctx);
  const running = maintenance.find(({ startsAt }) => startsAt <= now)?.startsAt ?? null;
  const views = components.map((one): ComponentView => {
    const days: DayTimes[] = times.filter(({ component }) => component === one.row.id);
    return {
      id: one.id,
      name: one.name,
      ...shownOf(one, incidents, running),
      uptime: uptimeOf(days),
      months: monthViews(days, first, last, ctx.config.status_target),
      days: dayViews(days, first, last),
    };
  });
  const observed = components.map(({ row }) => row.observedUntil);
  return {
    object: "status",
    state: worst(views.map(({ state }) => state)),
    checked_at: observed.length > 0 ? seconds(Math.max(...observed)) : null,
    target: ctx.config.status_target,
    components: views,
    incidents,
    maintenance: maintenance.map(({ id, reason, startsAt, endsAt }) => ({
      id,
      reason,
      starts_at: seconds(startsAt),
      ends_at: seconds(endsAt),
    })),
  };
}

/** @throws AppError `status_page_off`, `invalid_api_key` where the setting does not show the page to the caller */
export function requireStatusPage(ctx: Ctx, actor: Pick<Actor, "userId">): void {
  if (ctx.config.status_page === "off")
    throw new AppError("not_found", "status_page_off", "This installation shows no status page (status_page).");
  if (ctx.config.status_page === "members" && !actor.userId)
    throw new AppError(
      "unauthenticated",
      "invalid_api_key",
      "The status page is for users of this installation. Sign in, or send `Authorization: Bearer ftl-…`.",
    );
}

/** The status, at most 15 seconds old. @throws AppError `status_page_off`, `invalid_api_key` */
export function readStatus(ctx: Ctx, actor: Pick<Actor, "userId">): Promise<StatusView> {
  requireStatusPage(ctx, actor);
  return keptSummary(ctx, () => read(ctx)).value;
}

/** Pages of visitors that were rendered from the kept status, by theme. */
export const keptPages = (ctx: Ctx): Map<string, string> => keptSummary(ctx, () => read(ctx)).pages;
