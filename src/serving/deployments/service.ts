/**
 * Deployments as people and requests see them: make, start, stop, delete, and find the engine that answers for a model.
 */
import { and, desc, eq, isNull, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { resolveChatModel } from "../../models/tuned/service.ts";
import type { DeploymentView, Serving } from "./model.ts";
import { changed, findRow, insertDeployment, view, want } from "./records.ts";
import { runtimeOf } from "./runtime.ts";
import { findServing } from "./serving.ts";

/** How long a request waits for an engine to come up. */
const WAIT_MS = 120_000;

export async function getDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  return view(ctx, await findRow(ctx, actor, id));
}

/**
 * Deployments, newest first; one more than `limit` to tell whether there is another page. `search` is a part of the
 * name or of the model.
 */
export async function listDeployments(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string | null; limit: number; search?: string },
): Promise<DeploymentView[]> {
  const from = page.after ? await findRow(ctx, actor, page.after) : null;
  const rows = await ctx.db
    .select()
    .from(deployment)
    .where(
      and(
        eq(deployment.org, actor.org),
        isNull(deployment.deletedAt),
        olderThan(deployment, from),
        page.search
          ? sql`instr(lower(${deployment.name} || ' ' || ${deployment.model}), ${page.search.toLowerCase()}) > 0`
          : undefined,
      ),
    )
    .orderBy(desc(deployment.createdAt), desc(deployment.id))
    .limit(page.limit + 1);
  return rows.map((row) => view(ctx, row));
}

/** 0 means never; absent means the installation's setting. */
function idleSetting(ctx: Ctx, given: number | undefined): number | null {
  return (given ?? ctx.config.idle_after_s) || null;
}

/**
 * Makes a deployment of `model` and has it started. A model has one deployment: asking again wakes the one there is,
 * and one that a request had made becomes a lasting one.
 */
export async function createDeployment(
  ctx: Ctx,
  actor: Actor,
  request: { model: string; name?: string; idleAfterS?: number },
): Promise<DeploymentView> {
  const resolved = await resolveChatModel(ctx, actor, request.model);
  const row = await insertDeployment(ctx, actor, resolved, {
    name: request.name,
    idleAfterS: idleSetting(ctx, request.idleAfterS),
    onDemand: false,
  });
  return view(ctx, row);
}

/** Starts or wakes a deployment; one that had given up gets a fresh count of tries. */
export async function startDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  const row = await findRow(ctx, actor, id);
  await resolveChatModel(ctx, actor, row.model);
  const runtime = runtimeOf(ctx);
  runtime.notBefore.delete(id);
  runtime.used.set(id, ctx.clock.now());
  const again = row.state === "failed" ? { state: "starting" as const, jobId: null, address: null } : {};
  return want(ctx, actor, id, "deployment.start", { wanted: "running", restarts: 0, error: null, ...again });
}

/** Stops a deployment until somebody starts it again; requests do not wake it. */
export function stopDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  return want(ctx, actor, id, "deployment.stop", { wanted: "stopped" });
}

/** Puts a deployment to sleep now; the next request wakes it. */
export function sleepDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  return want(ctx, actor, id, "deployment.sleep", { wanted: "asleep" });
}

/** Takes a deployment away; its engine is stopped and its numbers stay. */
export async function deleteDeployment(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  await want(ctx, actor, id, "deployment.delete", { wanted: "stopped", deletedAt: ctx.clock.now() });
}

/** Changes the name or the time until sleep (0 = never); without either it only answers the deployment. */
export async function updateDeployment(
  ctx: Ctx,
  actor: Actor,
  id: string,
  values: { name?: string; idleAfterS?: number },
): Promise<DeploymentView> {
  if (values.name === undefined && values.idleAfterS === undefined) return getDeployment(ctx, actor, id);
  return want(ctx, actor, id, "deployment.update", {
    ...(values.name === undefined ? {} : { name: values.name }),
    ...(values.idleAfterS === undefined ? {} : { idleAfterS: values.idleAfterS || null }),
  });
}

/** The deployments of a model that was deleted end too. */
export async function endDeploymentsOf(ctx: Ctx, org: string, modelId: string): Promise<void> {
  const rows = await ctx.write((tx) =>
    tx
      .update(deployment)
      .set({ wanted: "stopped", deletedAt: ctx.clock.now() })
      .where(and(eq(deployment.org, org), eq(deployment.model, modelId), isNull(deployment.deletedAt)))
      .returning(),
  );
  for (const row of rows) changed(ctx, row);
  runtimeOf(ctx).hint();
}

/**
 * Counts a request in, so that its engine does not fall asleep under it. Call the returned function once it is over.
 */
export function requestBegins(ctx: Ctx, deploymentId: string): () => void {
  const { active, used } = runtimeOf(ctx);
  active.set(deploymentId, (active.get(deploymentId) ?? 0) + 1);
  used.set(deploymentId, ctx.clock.now());
  let over = false;
  return () => {
    if (over) return;
    over = true;
    const left = (active.get(deploymentId) ?? 1) - 1;
    if (left > 0) active.set(deploymentId, left);
    else active.delete(deploymentId);
    used.set(deploymentId, ctx.clock.now());
  };
}

/**
 * A request found nobody at the engine's address: no further request goes there until the loop has looked.
 * An engine that is well after all is ready again a moment later.
 */
export async function reportUnreachable(ctx: Ctx, deploymentId: string, address: string): Promise<void> {
  const [row] = await ctx.write((tx) =>
    tx
      .update(deployment)
      .set({ state: "starting", address: null })
      .where(and(eq(deployment.id, deploymentId), eq(deployment.address, address), eq(deployment.state, "ready")))
      .returning(),
  );
  if (row) changed(ctx, row);
  runtimeOf(ctx).hint();
}

/**
 * The engine for `model`: ready, or made ready within two minutes.
 * @param signal aborted when the asker leaves; the start goes on for the others
 * @throws AppError `model_not_found`, `endpoint_stopped`, `model_starting` (503, come back), `endpoint_failed`
 */
export async function ensureServing(
  ctx: Ctx,
  actor: Actor,
  model: string,
  signal: AbortSignal,
  waitMs = WAIT_MS,
): Promise<Serving> {
  const runtime = runtimeOf(ctx);
  const key = `${actor.org} ${model}`;
  const known = runtime.routes.get(key);
  if (known) return known;
  let pending = runtime.pending.get(key);
  if (!pending) {
    pending = findServing(ctx, runtime, actor, model, waitMs).finally(() => runtime.pending.delete(key));
    runtime.pending.set(key, pending);
  }
  return untilAborted(pending, signal);
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
