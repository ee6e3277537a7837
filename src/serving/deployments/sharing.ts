/**
 * Engines that several deployments share: a model whose base is already served joins the running engine instead of
 * loading the base again. The serve job ends when its last deployment leaves.
 */
import { and, asc, eq, isNull, ne } from "drizzle-orm";
import type { ServeSpec } from "../../contract/spec.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { type ResolvedModel, resolveChatModel } from "../../models/tuned/service.ts";
import { loadAdapter } from "./engine.ts";
import type { DeploymentRow } from "./model.ts";
import { runtimeOf } from "./runtime.ts";

/** The mark of an adapter that was loaded into an engine after its start. */
export const loadedKey = (name: string, artifactId: string) => `${name} ${artifactId}`;

/** Remembers that the engine of a serve job has an adapter. */
export function noteLoaded(ctx: Ctx, jobId: string, key: string): void {
  const { loaded } = runtimeOf(ctx);
  loaded.set(jobId, (loaded.get(jobId) ?? new Set()).add(key));
}

/**
 * What a deployment without an engine does about the engines on its base: `join` the engine of a serve job, which has
 * loaded its adapter; `wait` for one that starts; or `launch` its own.
 */
type Plan = { step: "join"; jobId: string } | { step: "wait" } | { step: "launch" };

/** @throws AppError when the model does not exist or its base is not ready */
export async function planEngine(ctx: Ctx, row: DeploymentRow): Promise<Plan> {
  const resolved = await resolveChatModel(ctx, systemActor(row.org), row.model);
  if (resolved.whole) return { step: "launch" };
  const others = await ctx.db
    .select({ row: deployment, spec: job.spec })
    .from(deployment)
    .leftJoin(job, eq(job.id, deployment.jobId))
    .where(
      and(
        eq(deployment.org, row.org),
        eq(deployment.baseModelId, row.baseModelId),
        eq(deployment.wanted, "running"),
        ne(deployment.id, row.id),
        isNull(deployment.deletedAt),
      ),
    )
    .orderBy(asc(deployment.createdAt), asc(deployment.id))
    .limit(50);
  for (const other of others)
    if (other.row.state === "ready" && (await hasJoined(ctx, other.row, other.spec as ServeSpec | null, resolved)))
      return { step: "join", jobId: other.row.jobId ?? "" };
  for (const other of others) if (await isStarting(ctx, row, other.row)) return { step: "wait" };
  return { step: "launch" };
}

/** Loads the adapter into a ready engine; false when the engine cannot serve it. */
async function hasJoined(
  ctx: Ctx,
  other: DeploymentRow,
  spec: ServeSpec | null,
  { adapter, base }: ResolvedModel,
): Promise<boolean> {
  if (!other.jobId || !other.address || !spec || spec.whole) return false;
  if (!adapter) return spec.base_model.id === base.id;
  if (spec.adapters.some((one) => one.name === adapter.name && one.artifact_id === adapter.artifactId)) return true;
  if (!(await loadAdapter(ctx, other.address, adapter.name, adapter.artifactId))) return false;
  noteLoaded(ctx, other.jobId, loadedKey(adapter.name, adapter.artifactId));
  return true;
}

/** True for a deployment whose engine will be ready for others: it has a serve job, or is the older of two without. */
async function isStarting(ctx: Ctx, row: DeploymentRow, other: DeploymentRow): Promise<boolean> {
  if (other.state !== "starting") return false;
  const isFirst = other.createdAt < row.createdAt || (other.createdAt === row.createdAt && other.id < row.id);
  if (other.jobId === null && !isFirst) return false;
  const resolved = await resolveChatModel(ctx, systemActor(other.org), other.model).catch(() => null);
  return resolved !== null && !resolved.whole;
}

/** Whether another deployment uses the engine of this one's serve job. */
export async function isShared(ctx: Ctx, row: DeploymentRow): Promise<boolean> {
  if (!row.jobId) return false;
  const [other] = await ctx.db
    .select({ id: deployment.id })
    .from(deployment)
    .where(and(eq(deployment.jobId, row.jobId), ne(deployment.id, row.id), eq(deployment.wanted, "running")))
    .limit(1);
  return other !== undefined;
}
