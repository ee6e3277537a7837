/** Rows of deployments: finding, making and changing them, each change with its audit row and its word on the bus. */
import { and, eq, isNull } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import type { ResolvedModel } from "../../models/tuned/service.ts";
import { type DeploymentRow, type DeploymentView, deploymentView } from "./model.ts";
import { runtimeOf } from "./runtime.ts";

/** A row as the API shows it. */
export function view(ctx: Ctx, row: DeploymentRow): DeploymentView {
  const runtime = runtimeOf(ctx);
  return deploymentView(row, runtime.active.get(row.id) ?? 0, runtime.used.get(row.id) ?? null);
}

/** Tells that a deployment changed. */
export function changed(ctx: Ctx, row: Pick<DeploymentRow, "id" | "org" | "state">): void {
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

/** Stores the deployment, or wakes the one `resolved` has already; one transaction, so that two requests make one. */
export async function insertDeployment(
  ctx: Ctx,
  actor: Actor,
  resolved: Pick<ResolvedModel, "id" | "base">,
  options: { name?: string; idleAfterS: number | null; onDemand: boolean },
): Promise<DeploymentRow> {
  const row = await ctx.write(async (tx) => {
    const [existing] = await tx
      .select()
      .from(deployment)
      .where(and(eq(deployment.org, actor.org), eq(deployment.model, resolved.id), isNull(deployment.deletedAt)))
      .limit(1);
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
      return updated ?? existing;
    }
    const [inserted] = await tx
      .insert(deployment)
      .values({
        id: newId("deployment"),
        org: actor.org,
        name: options.name ?? resolved.id,
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
    if (!inserted) throw new Error("deployment not stored");
    await audit(tx, ctx, actor, "deployment.create", inserted.id, { model: resolved.id, on_demand: options.onDemand });
    return inserted;
  });
  runtimeOf(ctx).notBefore.delete(row.id);
  runtimeOf(ctx).used.set(row.id, ctx.clock.now());
  changed(ctx, row);
  runtimeOf(ctx).hint();
  return row;
}

/** Changes what is wanted of a deployment and has the loop look at it. */
export async function want(
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
  changed(ctx, updated ?? row);
  runtimeOf(ctx).hint();
  return view(ctx, updated ?? row);
}

/** The error for a deployment that a person has stopped. */
export function stoppedError(row: DeploymentRow): AppError {
  return new AppError(
    "conflict",
    "endpoint_stopped",
    `The endpoint of ${row.model} was stopped. Start it on its page, or POST /v1/deployments/${row.id}/start.`,
    { param: "model" },
  );
}
