/**
 * Deployments: create, start, stop and delete them, and find the engine that serves a model.
 */
import { and, desc, eq, inArray, isNull, or, type SQL, sql } from "drizzle-orm";
import { creatorId } from "../../accounts/organizations/creators.ts";
import { knownOfModel, requireUsableModel } from "../../accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { emitAll } from "../../lib/bus.ts";
import { type ResolvedModel, resolveChatModel, resolveModel } from "../../models/tuned/service.ts";
import { stayingModels } from "../../models/tuned/stays-local.ts";
import { requireOwner } from "../../roles.ts";
import { meterJob } from "../../training/attempts/meter.ts";
import { requireOwnMachine } from "../../training/jobs/stays-local.ts";
import { probe } from "./engine.ts";
import type { DeploymentView, Serving } from "./model.ts";
import { findRow, insertDeployment, publishChange, requestModelCheck, setWanted, viewOf } from "./records.ts";
import { runtimeOf } from "./runtime.ts";
import { findServing } from "./serving.ts";

/** Longest time a request waits for an engine to start. */
const WAIT_MS = 120_000;

export async function getDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  return viewOf(ctx, await findRow(ctx, actor, id));
}

/**
 * Deployments, newest first; one more than `limit`, which shows whether there is another page.
 * @param page `search` is a part of the name or of the model, `createdBy` an id or `me`
 */
export async function listDeployments(
  ctx: Ctx,
  actor: Actor,
  page: { after?: string | null; limit: number; search?: string; createdBy?: string },
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
        page.createdBy ? eq(deployment.createdBy, creatorId(actor, page.createdBy)) : undefined,
        page.search
          ? sql`instr(lower(${deployment.name} || ' ' || ${deployment.model}), ${page.search.toLowerCase()}) > 0`
          : undefined,
      ),
    )
    .orderBy(desc(deployment.createdAt), desc(deployment.id))
    .limit(page.limit + 1);
  return rows.map((row) => viewOf(ctx, row));
}

/** Seconds, or null for never. 0 means never; absent means the default of the installation. */
function idleSetting(ctx: Ctx, given: number | undefined): number | null {
  return (given ?? ctx.config.idle_after_s) || null;
}

/** @throws AppError `model_stays_local` when the model stays on this server and nothing serves models here */
async function requirePlace(ctx: Ctx, { adapter, base }: ResolvedModel): Promise<void> {
  const read = { artifacts: adapter ? [adapter.artifactId] : [], base: base.id, runs: [] };
  const [models = []] = await stayingModels(ctx.db, [read]);
  requireOwnMachine(ctx, { any: models.length > 0, datasets: [], models });
}

/**
 * Creates a deployment of `model` and starts it. A model has at most one deployment: a second call wakes the existing
 * one, and an on-demand one becomes permanent.
 */
export async function createDeployment(
  ctx: Ctx,
  actor: Actor,
  request: { model: string; name?: string; idleAfterS?: number },
): Promise<DeploymentView> {
  const resolved = await resolveChatModel(ctx, actor, request.model);
  await requirePlace(ctx, resolved);
  const row = await insertDeployment(ctx, actor, resolved, {
    name: request.name,
    idleAfterS: idleSetting(ctx, request.idleAfterS),
    onDemand: false,
  });
  return viewOf(ctx, row);
}

/** Starts or wakes a deployment; a failed one may restart as often as a new one. */
export async function startDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  const row = await findRow(ctx, actor, id);
  await requirePlace(ctx, await resolveChatModel(ctx, actor, row.model));
  if (row.wanted === "stopped") emitAll(ctx.bus, await ctx.write((tx) => requestModelCheck(tx, ctx, actor, row.model)));
  const runtime = runtimeOf(ctx);
  runtime.notBefore.delete(id);
  runtime.used.set(id, ctx.clock.now());
  const again = row.state === "failed" ? { state: "starting" as const, jobId: null, address: null } : {};
  return setWanted(ctx, actor, id, "deployment.start", { wanted: "running", restarts: 0, error: null, ...again });
}

/** Stops a deployment until it is started again; requests do not wake it. */
export async function stopDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  requireOwner(actor, (await findRow(ctx, actor, id)).createdBy);
  return setWanted(ctx, actor, id, "deployment.stop", { wanted: "stopped" });
}

/** Puts a deployment to sleep now; the next request wakes it. */
export function sleepDeployment(ctx: Ctx, actor: Actor, id: string): Promise<DeploymentView> {
  return setWanted(ctx, actor, id, "deployment.sleep", { wanted: "asleep" });
}

/** Deletes a deployment; its engine is stopped, and its usage rows stay. */
export async function deleteDeployment(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  requireOwner(actor, (await findRow(ctx, actor, id)).createdBy);
  await setWanted(ctx, actor, id, "deployment.delete", { wanted: "stopped", deletedAt: ctx.clock.now() });
}

/** Changes the name or the time until sleep (0 = never); without either it returns the deployment unchanged. */
export async function updateDeployment(
  ctx: Ctx,
  actor: Actor,
  id: string,
  values: { name?: string; idleAfterS?: number },
): Promise<DeploymentView> {
  if (values.name === undefined && values.idleAfterS === undefined) return getDeployment(ctx, actor, id);
  return setWanted(ctx, actor, id, "deployment.update", {
    ...(values.name === undefined ? {} : { name: values.name }),
    ...(values.idleAfterS === undefined ? {} : { idleAfterS: values.idleAfterS || null }),
  });
}

const ofModel = (id: string) =>
  or(eq(deployment.model, id), sql`instr(${deployment.model}, ${`${id}:ckpt-step-`}) = 1`);

/** Deletes the deployments of a deleted model and of its checkpoints, also where another organization shared it. */
export const endDeploymentsOf = (ctx: Ctx, modelId: string) => endDeployments(ctx, ofModel(modelId));

/** Deletes the deployments of `org` for models that are no longer shared with it. */
export const endSharedDeployments = (ctx: Ctx, org: string, models: string[]) =>
  endDeployments(ctx, and(eq(deployment.org, org), inArray(deployment.model, models)));

/** Deletes the deployment of a model in one organization. */
export const endDeployment = (ctx: Ctx, org: string, model: string) =>
  endDeployments(ctx, and(eq(deployment.org, org), eq(deployment.model, model)));

/**
 * Stops the deployments of a model and of its checkpoints; they are started again by a person.
 * @param org only there; null = wherever it is shared
 */
export async function stopDeploymentsOf(ctx: Ctx, modelId: string, org: string | null): Promise<void> {
  const rows = await ctx.write((tx) =>
    tx
      .update(deployment)
      .set({ wanted: "stopped" })
      .where(and(ofModel(modelId), org === null ? undefined : eq(deployment.org, org), isNull(deployment.deletedAt)))
      .returning(),
  );
  for (const row of rows) publishChange(ctx, row);
  runtimeOf(ctx).hint();
}

async function endDeployments(ctx: Ctx, which: SQL | undefined): Promise<void> {
  const rows = await ctx.write((tx) =>
    tx
      .update(deployment)
      .set({ wanted: "stopped", deletedAt: ctx.clock.now() })
      .where(and(which, isNull(deployment.deletedAt)))
      .returning(),
  );
  for (const row of rows) publishChange(ctx, row);
  runtimeOf(ctx).hint();
}

/**
 * Counts a request as in flight, so that its engine is not put to sleep.
 * @returns a function to call when the request is over
 */
export function requestBegins(ctx: Ctx, deploymentId: string): () => void {
  const { active, used, requested } = runtimeOf(ctx);
  active.set(deploymentId, (active.get(deploymentId) ?? 0) + 1);
  used.set(deploymentId, ctx.clock.now());
  requested.set(deploymentId, ctx.clock.now());
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
 * Reports that a request got no answer from the engine at `address`. When nobody listens there, no further request is
 * sent until the loop has probed it again.
 * @returns false when the engine answers its health check: then only that request failed, and nothing is changed
 */
export async function reportUnreachable(ctx: Ctx, deploymentId: string, address: string): Promise<boolean> {
  if ((await probe(ctx, address)) !== "absent") return false;
  const [row] = await ctx.write(async (tx) => {
    const where = and(eq(deployment.id, deploymentId), eq(deployment.address, address), eq(deployment.state, "ready"));
    const [found] = await tx.select({ jobId: deployment.jobId }).from(deployment).where(where);
    if (found?.jobId) await meterJob(tx, ctx, found.jobId);
    return tx.update(deployment).set({ state: "starting", address: null }).where(where).returning();
  });
  if (row) publishChange(ctx, row);
  runtimeOf(ctx).hint();
  return true;
}

/**
 * The engine for `model`: ready, or started within two minutes.
 * @param signal aborted when the client disconnects; the start continues for other requests
 * @throws AppError `model_not_found`, `model_not_allowed`, `endpoint_stopped`, `model_starting` (503, retry),
 *   `endpoint_failed`
 */
export async function ensureServing(
  ctx: Ctx,
  actor: Actor,
  model: string,
  signal: AbortSignal,
  waitMs = WAIT_MS,
): Promise<Serving> {
  // The engine is known for the organization; a key may use fewer models.
  if (actor.limits) await resolveModel(ctx, actor, model, true);
  if (knownOfModel(ctx, actor.org, model)) await requireUsableModel(ctx, actor, model);
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
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
