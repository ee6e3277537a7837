/** Incidents of the installation: opened, updated and resolved by administrators, shown on the status page. */
import { desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { statusIncident, statusUpdate } from "../../db/schema/status.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { recordForAll } from "../../notices/events/store.ts";
import { currentComponents } from "./components.ts";
import { type IncidentRow, type IncidentView, incidentView, type OpenIncident, type UpdateIncident } from "./model.ts";
import { forgetSummary, keptOpen } from "./summary-cache.ts";

const MAX_OPEN = 100;

/** Rows with their updates and the names of their components. */
async function viewsOf(ctx: Ctx, rows: IncidentRow[]): Promise<IncidentView[]> {
  if (rows.length === 0) return [];
  const ids = rows.map(({ id }) => id);
  const updates = await ctx.db
    .select()
    .from(statusUpdate)
    .where(inArray(statusUpdate.incident, ids))
    .orderBy(desc(statusUpdate.createdAt), desc(sql`rowid`));
  const names = new Map((await currentComponents(ctx)).map(({ id, name }) => [id, name]));
  return rows.map((row) =>
    incidentView(
      row,
      updates.filter(({ incident }) => incident === row.id),
      names,
    ),
  );
}

/** Incidents that are not resolved, newest first; read after each change. */
export const openIncidents = (ctx: Ctx): Promise<IncidentView[]> => keptOpen(ctx, () => readOpen(ctx));

async function readOpen(ctx: Ctx): Promise<IncidentView[]> {
  const rows = await ctx.db
    .select()
    .from(statusIncident)
    .where(isNull(statusIncident.resolvedAt))
    .orderBy(desc(statusIncident.startedAt), desc(statusIncident.id))
    .limit(MAX_OPEN);
  return viewsOf(ctx, rows);
}

async function find(db: Db, id: string): Promise<IncidentRow> {
  const [row] = await db.select().from(statusIncident).where(eq(statusIncident.id, id));
  if (!row) throw notFound("status_incident", id);
  return row;
}

/** All incidents, newest first; at most `limit + 1`. */
export async function listIncidents(ctx: Ctx, page: { after?: string; limit: number }): Promise<IncidentView[]> {
  const from = page.after ? await find(ctx.db, page.after) : undefined;
  const rows = await ctx.db
    .select()
    .from(statusIncident)
    .where(from && sql`(${statusIncident.startedAt}, ${statusIncident.id}) < (${from.startedAt}, ${from.id})`)
    .orderBy(desc(statusIncident.startedAt), desc(statusIncident.id))
    .limit(page.limit + 1);
  return viewsOf(ctx, rows);
}

/** @throws AppError `status_component_not_found` */
async function checkComponents(ctx: Ctx, ids: readonly string[] | undefined): Promise<void> {
  if (!ids?.length) return;
  const known = new Set((await currentComponents(ctx)).map(({ id }) => id));
  const unknown = ids.find((id) => !known.has(id));
  if (unknown !== undefined) throw notFound("status_component", unknown).withParam("components", "invalid");
}

const TYPES = { opened: "incident.opened", updated: "incident.updated", resolved: "incident.resolved" } as const;
const TITLES = { opened: "Incident", updated: "Update", resolved: "Resolved" } as const;

/** The notice of an update, for every account. */
function notify(tx: Db, ctx: Ctx, row: IncidentRow, what: keyof typeof TYPES, text: string): Promise<BusMessage> {
  return recordForAll(
    tx,
    ctx,
    { kind: "everyone" },
    { type: TYPES[what], subject: row.id, title: `${TITLES[what]}: ${row.title}`, body: text, path: "/status" },
  );
}

/** One incident. @throws AppError `status_incident_not_found` */
async function viewOf(ctx: Ctx, id: string): Promise<IncidentView> {
  const [view] = await viewsOf(ctx, [await find(ctx.db, id)]);
  if (!view) throw notFound("status_incident", id);
  return view;
}

/** The update that an incident begins with, or a later one. */
function addUpdate(tx: Db, ctx: Ctx, actor: Actor, row: IncidentRow, text: string) {
  return tx.insert(statusUpdate).values({
    id: newId("incidentUpdate"),
    incident: row.id,
    state: row.state,
    text,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
  });
}

/**
 * Opens an incident. Administrators only.
 * @throws AppError `status_component_not_found`, `incident_in_the_future`
 */
export async function openIncident(ctx: Ctx, actor: Actor, given: OpenIncident): Promise<IncidentView> {
  requireAdmin(actor);
  await checkComponents(ctx, given.components);
  const now = ctx.clock.now();
  const startedAt = given.started_at == null ? now : given.started_at * 1000;
  if (startedAt > now)
    throw new AppError("invalid", "incident_in_the_future", "An incident cannot begin in the future.", {
      param: "started_at",
    });
  const row: IncidentRow = {
    id: newId("incident"),
    title: given.title,
    impact: given.impact,
    components: [...new Set(given.components)],
    state: given.status,
    startedAt,
    resolvedAt: given.status === "resolved" ? now : null,
    createdBy: actor.userId,
    createdAt: now,
  };
  const messages: BusMessage[] = [];
  await ctx.write(async (tx) => {
    await tx.insert(statusIncident).values(row);
    await addUpdate(tx, ctx, actor, row, given.text);
    await audit(tx, ctx, actor, "incident.open", row.id, { title: row.title, impact: row.impact, status: row.state });
    if (given.notify)
      messages.push(await notify(tx, ctx, row, row.state === "resolved" ? "resolved" : "opened", given.text));
  });
  forgetSummary(ctx);
  emitAll(ctx.bus, messages);
  return viewOf(ctx, row.id);
}

/**
 * Adds an update, and with it changes the state of an incident. Administrators only.
 * @throws AppError `status_incident_not_found`, `status_component_not_found`
 */
export async function updateIncident(ctx: Ctx, actor: Actor, id: string, given: UpdateIncident): Promise<IncidentView> {
  requireAdmin(actor);
  await checkComponents(ctx, given.components);
  const messages: BusMessage[] = [];
  await ctx.write(async (tx) => {
    const before = await find(tx, id);
    const resolved = given.status === "resolved";
    const row: IncidentRow = {
      ...before,
      state: given.status,
      impact: given.impact ?? before.impact,
      components: given.components ? [...new Set(given.components)] : before.components,
      resolvedAt: resolved ? (before.resolvedAt ?? ctx.clock.now()) : null,
    };
    await tx.update(statusIncident).set(row).where(eq(statusIncident.id, id));
    await addUpdate(tx, ctx, actor, row, given.text);
    const action = resolved && before.resolvedAt === null ? "incident.resolve" : "incident.update";
    await audit(tx, ctx, actor, action, id, { title: row.title, impact: row.impact, status: row.state });
    if (given.notify) messages.push(await notify(tx, ctx, row, resolved ? "resolved" : "updated", given.text));
  });
  forgetSummary(ctx);
  emitAll(ctx.bus, messages);
  return viewOf(ctx, id);
}

/** Deletes an incident with its updates. Administrators only. @throws AppError `status_incident_not_found` */
export async function deleteIncident(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const { title } = await find(tx, id);
    await tx.delete(statusUpdate).where(eq(statusUpdate.incident, id));
    await tx.delete(statusIncident).where(eq(statusIncident.id, id));
    await audit(tx, ctx, actor, "incident.delete", id, { title });
  });
  forgetSummary(ctx);
}
