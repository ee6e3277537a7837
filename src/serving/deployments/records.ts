/**
 * Rows of deployments: find, create and change them; every change by a person is audited, every change is published.
 */
import { and, eq, isNull } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { heldMessage } from "../../accounts/holds/service.ts";
import { requestCheck } from "../../accounts/restrictions/requests.ts";
import { knownOfModel, modelInOrg } from "../../accounts/restrictions/service.ts";
import { type Actor, type Ctx, type Hold, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { newId } from "../../lib/ids.ts";
import { titleOf } from "../../models/tuned/lookup.ts";
import type { ResolvedModel } from "../../models/tuned/service.ts";
import { recordEvent } from "../../notices/events/store.ts";
import { meterJob } from "../../training/attempts/meter.ts";
import { type DeploymentRow, type DeploymentView, deploymentView } from "./model.ts";
import { runtimeOf } from "./runtime.ts";
import { canMove } from "./state.ts";

/** A row as the API shows it. */
export function viewOf(ctx: Ctx, row: DeploymentRow): DeploymentView {
  const runtime = runtimeOf(ctx);
  const view = deploymentView(row, runtime.active.get(row.id) ?? 0, runtime.requested.get(row.id) ?? null);
  const checked = row.wanted === "running" && (row.state === "starting" || row.state === "ready");
  return checked && knownOfModel(ctx, row.org, row.model)?.kind === "checking" ? { ...view, state: "checking" } : view;
}

/** Asks for the moderation checks of a model that is deployed, in the caller's transaction; once for each model. */
export function requestModelCheck(
  tx: Db,
  ctx: Ctx,
  { org, userId }: Pick<Actor, "org" | "userId">,
  model: string,
): Promise<BusMessage[]> {
  // A base model belongs to nobody: it is checked for each organization.
  const subject = model.startsWith("ft:") ? model : modelInOrg(org, model);
  return requestCheck(tx, ctx, { org, object: "model", subject, name: model, hash: null, userId });
}

/** Publishes that a deployment changed. */
export function publishChange(ctx: Ctx, row: Pick<DeploymentRow, "id" | "org" | "state">): void {
  ctx.bus.emit("deployment.changed", { org: row.org, deploymentId: row.id, state: row.state });
}

/** The row of one deployment of `actor`'s organization. */
export async function findRow(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentRow> {
  const [row] = await ctx.db
    .select()
    .from(deployment)
    .where(and(eq(deployment.id, id), eq(deployment.org, actor.org), isNull(deployment.deletedAt)))
    .limit(1);
  if (!row) throw notFound("deployment", id);
  return row;
}

/** Stores a deployment, or wakes the existing one of `resolved`; one transaction, so that two requests create one. */
export async function insertDeployment(
  ctx: Ctx,
  actor: Actor,
  resolved: Pick<ResolvedModel, "id" | "base">,
  options: { name?: string; idleAfterS: number | null; onDemand: boolean },
): Promise<DeploymentRow> {
  const name = options.name ?? (await titleOf(ctx, resolved.id));
  const { row, messages } = await ctx.write(async (tx) => {
    const [existing] = await tx
      .select()
      .from(deployment)
      .where(and(eq(deployment.org, actor.org), eq(deployment.model, resolved.id), isNull(deployment.deletedAt)))
      .limit(1);
    const first = !existing || existing.wanted === "stopped";
    const messages = first ? await requestModelCheck(tx, ctx, actor, resolved.id) : [];
    if (existing) {
      const values = {
        wanted: "running" as const,
        ...(options.onDemand
          ? {}
          : { onDemand: false, name: options.name ?? existing.name, idleAfterS: options.idleAfterS }),
        ...(existing.state === "failed" ? { state: "starting" as const, jobId: null, restarts: 0, error: null } : {}),
      };
      const [updated] = await tx.update(deployment).set(values).where(eq(deployment.id, existing.id)).returning();
      if (!options.onDemand) await audit(tx, ctx, actor, "deployment.start", existing.id, { model: resolved.id });
      return { row: updated ?? existing, messages };
    }
    const [inserted] = await tx
      .insert(deployment)
      .values({
        id: newId("deployment"),
        org: actor.org,
        name,
        model: resolved.id,
        baseModelId: resolved.base.id,
        wanted: "running",
        state: "starting",
        onDemand: options.onDemand,
        idleAfterS: options.idleAfterS,
        createdBy: actor.userId,
        createdAt: ctx.clock.now(),
      })
      .returning();
    if (!inserted) throw new Error("the deployment was not stored");
    await audit(tx, ctx, actor, "deployment.create", inserted.id, { model: resolved.id, on_demand: options.onDemand });
    return { row: inserted, messages };
  });
  emitAll(ctx.bus, messages);
  runtimeOf(ctx).notBefore.delete(row.id);
  runtimeOf(ctx).used.set(row.id, ctx.clock.now());
  publishChange(ctx, row);
  runtimeOf(ctx).hint();
  return row;
}

/** Changes the wanted state or the settings of a deployment, and wakes the reconcile loop. */
export async function setWanted(
  ctx: Ctx,
  actor: Actor,
  id: string,
  action: string,
  values: Partial<typeof deployment.$inferInsert>,
): Promise<DeploymentView> {
  const row = await findRow(ctx, actor, id);
  const [updated] = await ctx.write(async (tx) => {
    await audit(tx, ctx, actor, action, row.id, { model: row.model });
    return tx.update(deployment).set(values).where(eq(deployment.id, row.id)).returning();
  });
  publishChange(ctx, updated ?? row);
  runtimeOf(ctx).hint();
  return viewOf(ctx, updated ?? row);
}

/**
 * Stores the event of a deployment that became ready, or failed. One that failed is a problem of its user; one that is
 * ready again after it slept is not news.
 */
async function recordMove(tx: Db, ctx: Ctx, from: DeploymentRow, to: DeploymentRow): Promise<BusMessage[]> {
  if (to.state === from.state || (to.state !== "ready" && to.state !== "failed")) return [];
  const failed = to.state === "failed";
  const message = await recordEvent(tx, ctx, {
    org: to.org,
    type: `deployment.${to.state}`,
    subject: to.id,
    userId: failed ? to.createdBy : null,
    title: failed ? `Endpoint ${to.name} failed` : `Endpoint ${to.name} is ready`,
    body: failed ? (to.error ?? "") : "",
    path: `/deployments/${to.id}`,
  });
  return [message];
}

/**
 * Stops an endpoint that costs money although nobody asks it, and notifies its owner.
 * @param why a sentence without a period
 */
export async function stopIdle(ctx: Ctx, row: DeploymentRow, why: string): Promise<void> {
  const messages = await ctx.write(async (tx) => {
    const [stopped] = await tx
      .update(deployment)
      .set({ wanted: "stopped", error: `${why}. Start it when it is needed.` })
      .where(and(eq(deployment.id, row.id), eq(deployment.state, "ready"), eq(deployment.wanted, "running")))
      .returning({ id: deployment.id });
    if (!stopped) return null;
    await audit(tx, ctx, systemActor(row.org), "deployment.stop", row.id, { model: row.model, reason: "idle" });
    const event = { type: "deployment.idle" as const, subject: row.id, org: row.org, userId: row.createdBy };
    const text = { title: `Endpoint ${row.name} was stopped`, body: `${why}. Start it on its page when it is needed.` };
    return [await recordEvent(tx, ctx, { ...event, ...text, path: `/deployments/${row.id}` })];
  });
  if (messages === null) return;
  ctx.log("info", "an idle endpoint was stopped", { deployment: row.id, why });
  publishChange(ctx, row);
  emitAll(ctx.bus, messages);
  runtimeOf(ctx).hint();
}

/** Begins another interval of the engines that a deployment joins, leaves, or is ready on from now. */
async function meterEngines(
  tx: Db,
  ctx: Ctx,
  row: DeploymentRow,
  { state, jobId }: Pick<Partial<DeploymentRow>, "state" | "jobId">,
): Promise<void> {
  if ((state ?? row.state) === row.state && (jobId === undefined || jobId === row.jobId)) return;
  for (const id of new Set([row.jobId, jobId])) if (id) await meterJob(tx, ctx, id);
}

/** Changes a row unless it changed in the meantime, and publishes the change. */
export async function move(
  ctx: Ctx,
  row: DeploymentRow,
  values: Partial<typeof deployment.$inferInsert>,
): Promise<void> {
  if (values.state && values.state !== row.state && !canMove(row.state, values.state))
    throw new Error(`illegal move of ${row.id}: ${row.state} -> ${values.state}`);
  const { updated, noticed } = await ctx.write(async (tx) => {
    await meterEngines(tx, ctx, row, values);
    const [updated] = await tx
      .update(deployment)
      .set(values)
      .where(and(eq(deployment.id, row.id), eq(deployment.state, row.state), eq(deployment.wanted, row.wanted)))
      .returning();
    return { updated, noticed: updated ? await recordMove(tx, ctx, row, updated) : [] };
  });
  if (!updated) return;
  publishChange(ctx, updated);
  emitAll(ctx.bus, noticed);
  runtimeOf(ctx).hint();
}

/** The error for a deployment whose creator or organization is suspended or about to be deleted. */
export function heldEndpoint(row: DeploymentRow, hold: Hold): AppError {
  return new AppError(
    "conflict",
    "endpoint_held",
    `The endpoint of ${row.model} is stopped. ${heldMessage(hold)}. It starts again when that is lifted.`,
    { param: "model" },
  );
}

/** The error for a deployment that a person stopped. */
export function stoppedError(row: DeploymentRow): AppError {
  return new AppError(
    "conflict",
    "endpoint_stopped",
    `The endpoint of ${row.model} was stopped. Start it on its page, or POST /v1/deployments/${row.id}/start.`,
    { param: "model" },
  );
}
