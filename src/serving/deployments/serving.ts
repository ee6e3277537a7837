/**
 * Finds the engine that serves a model; wakes or creates a deployment where there is none. Concurrent requests for a
 * model share one start.
 */
import { and, desc, eq, inArray, isNull } from "drizzle-orm";
import { holdOn } from "../../accounts/holds/service.ts";
import type { ServeSpec } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { isLocalAddress } from "../../lib/upstream.ts";
import { type ResolvedModel, resolveChatModel } from "../../models/tuned/service.ts";
import { stopsEndpoints } from "../../notices/maintenance/current.ts";
import { spanText } from "../../notices/maintenance/model.ts";
import { loadAdapter, stillStarting } from "./engine.ts";
import type { DeploymentRow, Serving } from "./model.ts";
import { heldEndpoint, insertDeployment, stoppedError } from "./records.ts";
import { nextChange, type Runtime } from "./runtime.ts";
import { loadedKey, noteLoaded } from "./sharing.ts";
import { requirePaid } from "./unpaid.ts";

/** Time after which a request restarts a failed deployment. */
const RETRY_FAILED_MS = 30_000;
const MAX_ROUTES = 10_000;

/**
 * Searches for a ready engine for `model`, and starts one where needed.
 * @throws AppError `model_starting` after `waitMs`, `insufficient_quota` when the start waits for a budget or payment,
 * and the codes of `ensureServing`
 */
export async function findServing(
  ctx: Ctx,
  runtime: Runtime,
  actor: Actor,
  model: string,
  waitMs: number,
): Promise<Serving> {
  const deadline = ctx.clock.monotonic() + waitMs;
  for (;;) {
    const { generation } = runtime;
    const resolved = await resolveChatModel(ctx, actor, model);
    const rows = await ctx.db
      .select()
      .from(deployment)
      .where(
        and(eq(deployment.org, actor.org), eq(deployment.baseModelId, resolved.base.id), isNull(deployment.deletedAt)),
      )
      .orderBy(desc(deployment.createdAt))
      .limit(200);
    const own = rows.find((row) => row.model === resolved.id) ?? null;
    if (own?.wanted === "stopped") throw stoppedError(own);
    const hold = own && (await holdOn(ctx.db, { userId: own.createdBy, org: own.org }));
    if (own && hold) throw heldEndpoint(own, hold);
    // A model with a deployment of its own is counted there: asleep, it wakes and joins an engine on its base.
    const found = await readyFor(ctx, runtime, resolved, own ? [own] : rows);
    if (found) {
      if (runtime.routes.size >= MAX_ROUTES) runtime.routes.clear();
      if (generation === runtime.generation) runtime.routes.set(`${actor.org} ${model}`, found);
      return found;
    }
    if (own) await requirePaid(ctx, own);
    await requestStart(ctx, runtime, actor, resolved, own);
    const left = deadline - ctx.clock.monotonic();
    if (left <= 0 || ctx.signal.aborted) throw stillStarting(model);
    await nextChange(runtime, Math.min(1000, left));
  }
}

/**
 * A ready engine that has the model, its own deployment first; otherwise one on the same base that can load the
 * adapter.
 */
async function readyFor(
  ctx: Ctx,
  runtime: Runtime,
  resolved: ResolvedModel,
  rows: DeploymentRow[],
): Promise<Serving | null> {
  const ready = rows
    .filter((row) => row.state === "ready" && row.wanted === "running" && row.address !== null && row.jobId !== null)
    .sort((a, b) => Number(b.model === resolved.id) - Number(a.model === resolved.id));
  if (ready.length === 0) return null;
  const jobs = await ctx.db
    .select({ id: job.id, spec: job.spec })
    .from(job)
    .where(
      inArray(
        job.id,
        ready.flatMap((row) => row.jobId ?? []),
      ),
    );
  const specs = new Map(jobs.map((row) => [row.id, row.spec as ServeSpec]));
  const name = resolved.adapter?.name ?? resolved.base.id;
  const serving = (row: DeploymentRow): Serving => ({
    deploymentId: row.id,
    address: row.address ?? "",
    name,
    baseModelId: row.baseModelId,
  });
  for (const row of ready) {
    const spec = specs.get(row.jobId ?? "");
    if (spec?.whole) {
      // A full model serves only itself: neither its base nor adapters.
      if (spec.whole.name === name && spec.whole.artifact_id === resolved.adapter?.artifactId) return serving(row);
      continue;
    }
    if (!resolved.adapter) return serving(row);
    const adapter = spec?.adapters.find((one) => one.name === name);
    // A checkpoint that is saved again after a resume has different files under the same name.
    if (adapter?.artifact_id === resolved.adapter.artifactId) return serving(row);
    if (runtime.loaded.get(row.jobId ?? "")?.has(loadedKey(name, resolved.adapter.artifactId))) return serving(row);
  }
  for (const row of ready) {
    if (!resolved.adapter || resolved.whole || specs.get(row.jobId ?? "")?.whole) continue;
    if (!isLocalAddress(row.address ?? "")) continue;
    if (await loadAdapter(ctx, row.address ?? "", name, resolved.adapter.artifactId)) {
      noteLoaded(ctx, row.jobId ?? "", loadedKey(name, resolved.adapter.artifactId));
      return serving(row);
    }
  }
  return null;
}

/** Creates or wakes a deployment of the model, unless one is starting already. */
async function requestStart(
  ctx: Ctx,
  runtime: Runtime,
  actor: Actor,
  resolved: ResolvedModel,
  own: DeploymentRow | null,
): Promise<void> {
  const maintenance = await stopsEndpoints(ctx);
  if (maintenance)
    throw new AppError(
      "unavailable",
      "maintenance",
      `Endpoints are stopped for the maintenance from ${spanText(maintenance.startsAt, maintenance.endsAt)} (${maintenance.reason}). Try again after it.`,
      { param: "model", retryAfterS: (maintenance.endsAt - ctx.clock.now()) / 1000 },
    );
  if (own?.state === "failed" && own.wanted === "running") {
    const failedAt = runtime.since.get(own.id) ?? 0;
    if (ctx.clock.now() - failedAt < RETRY_FAILED_MS)
      throw new AppError(
        "unavailable",
        "endpoint_failed",
        `The endpoint of ${own.model} does not start: ${own.error ?? "see the log of its job"}`,
        { param: "model", retryAfterS: RETRY_FAILED_MS / 1000 },
      );
  } else if (own?.wanted === "running") return;
  await insertDeployment(ctx, actor, resolved, { idleAfterS: ctx.config.idle_after_s || null, onDemand: true });
}
