/**
 * The reconcile loop of deployments: compares the wanted state with the actual one and takes the next step. All lasting
 * state is in the database, so the loop continues after a restart of the server.
 */
import { and, eq, inArray, isNotNull, ne, notInArray, or, sql } from "drizzle-orm";
import { readHeld } from "../../accounts/holds/service.ts";
import { type Ctx, systemActor } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { job } from "../../db/schema/jobs.ts";
import { cancelJob } from "../../training/jobs/service.ts";
import { overBudget } from "./budget.ts";
import { type Runtime, runtimeOf } from "./runtime.ts";
import { endDeploymentsOf, endSharedDeployments } from "./service.ts";
import { JOB_OVER, reconcileOne } from "./step.ts";

const TICK_MS = 1_000;

/** Starts the loop. @returns a function that stops it */
export function startDeployments(ctx: Ctx): () => void {
  const runtime = runtimeOf(ctx);
  let timer: ReturnType<typeof setTimeout> | null = null;
  let stopped = false;
  let running = false;
  const tick = async () => {
    if (stopped || running) return;
    running = true;
    try {
      await reconcileAll(ctx, runtime);
    } catch (cause) {
      if (!stopped) ctx.log("error", "deployments could not be reconciled", { cause });
    } finally {
      running = false;
      if (!stopped) schedule(TICK_MS);
    }
  };
  const schedule = (ms: number) => {
    if (timer) clearTimeout(timer);
    timer = setTimeout(() => void tick(), ms);
  };
  runtime.hint = () => {
    if (!stopped) schedule(0);
  };
  const subscriptions = subscribe(ctx, runtime);
  const stop = () => {
    stopped = true;
    if (timer) clearTimeout(timer);
    for (const unsubscribe of subscriptions) unsubscribe();
    runtime.hint = () => {};
  };
  ctx.signal.addEventListener("abort", stop, { once: true });
  void cancelOrphans(ctx).catch((cause) => ctx.log("error", "orphaned serve jobs could not be canceled", { cause }));
  schedule(0);
  return stop;
}

function subscribe(ctx: Ctx, runtime: Runtime): (() => void)[] {
  return [
    ctx.bus.on("job.changed", (change) => change.kind === "serve" && runtime.hint()),
    ctx.bus.on("job.ready", () => runtime.hint()),
    ctx.bus.on("hold.changed", () => runtime.hint()),
    ctx.bus.on("budget.changed", () => runtime.hint()),
    ctx.bus.on("model.deleted", ({ modelId }) => {
      endDeploymentsOf(ctx, modelId).catch((cause) =>
        ctx.log("error", "deployments of a deleted model could not be ended", { model: modelId, cause }),
      );
    }),
    ctx.bus.on("checkpoint.unshared", ({ org, models }) => {
      endSharedDeployments(ctx, org, models).catch((cause) =>
        ctx.log("error", "deployments of a model that is no longer shared could not be ended", { models, cause }),
      );
    }),
  ];
}

/** Cancels serve jobs that no deployment points to: a stop between creating the job and storing its id leaves one. */
async function cancelOrphans(ctx: Ctx): Promise<void> {
  const rows = await ctx.db
    .select({ id: job.id, org: job.org })
    .from(job)
    .leftJoin(deployment, eq(deployment.jobId, job.id))
    .where(
      and(
        eq(job.kind, "serve"),
        notInArray(job.state, [...JOB_OVER, "stopping"]),
        sql`json_extract(${job.metadata}, '$.deployment_id') is not null`,
        sql`${deployment.id} is null`,
      ),
    )
    .limit(100);
  for (const row of rows) await cancelJob(ctx, systemActor(row.org), row.id);
}

async function reconcileAll(ctx: Ctx, runtime: Runtime): Promise<void> {
  const rows = await ctx.db
    .select()
    .from(deployment)
    .where(
      or(
        inArray(deployment.state, ["starting", "ready", "stopping"]),
        and(ne(deployment.wanted, deployment.state), ne(deployment.state, "failed")),
        and(eq(deployment.state, "failed"), or(eq(deployment.wanted, "stopped"), isNotNull(deployment.jobId))),
      ),
    )
    .limit(500);
  if (rows.length === 0) return;
  const held = await readHeld(ctx.db);
  for (const row of rows) {
    if (runtime.busy.has(row.id)) continue;
    runtime.busy.add(row.id);
    // Not awaited: an engine that responds slowly must not delay the other deployments.
    void reconcileOne(ctx, row, { hold: held.of(row.createdBy, row.org), budget: overBudget(ctx, row) })
      .catch((cause) => ctx.log("error", "a deployment could not be reconciled", { deployment: row.id, cause }))
      .finally(() => runtime.busy.delete(row.id));
  }
}
