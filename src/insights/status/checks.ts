/** The probes of the status page: what each component answers now. */
import { and, eq, isNull } from "drizzle-orm";
import { HEARTBEAT_TIMEOUT_MS } from "../../compute/hosts/inventory.ts";
import { callsHome, homeProblem } from "../../compute/providers/call-home.ts";
import { pluginProblems, trainerProblem } from "../../compute/providers/registry.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { deployment } from "../../db/schema/deployments.ts";
import { host } from "../../db/schema/hosts.ts";
import { clean } from "../../lib/text/redact.ts";
import { bucketProblem } from "../../objects/health.ts";
import { lastRound } from "../../training/queue/last-round.ts";

const API_TIMEOUT_MS = 10_000;
/** An answer that takes longer counts as degraded. */
const API_SLOW_MS = 2_000;
/** The scheduler runs every five seconds or more often. */
const ROUND_LATE_MS = 60_000;

/** What a probe found. `unused` is not counted: nothing is deployed. */
export type ProbeState = "operational" | "degraded" | "down" | "unused";
export interface Probe {
  component: string;
  state: ProbeState;
  /** For administrators; null when operational. */
  problem: string | null;
}

const listenerOf = perContext((): { url: string | null } => ({ url: null }));

/** Says where the server listens: probes of the API go through that listener. */
export function probesListener(ctx: Ctx, url: string): void {
  listenerOf(ctx).url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
}

/** A request through the listener. The write and the read of the database are the storing of the result. */
async function probeApi(ctx: Ctx): Promise<Probe> {
  const { url } = listenerOf(ctx);
  const found = (state: ProbeState, problem: string | null): Probe => ({ component: "api", state, problem });
  if (!url) return found("operational", null);
  const from = ctx.clock.monotonic();
  try {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(API_TIMEOUT_MS), redirect: "manual" });
    await answer.body?.cancel();
    if (answer.status !== 200) return found("down", `The server answered ${answer.status}.`);
    const took = ctx.clock.monotonic() - from;
    return took > API_SLOW_MS
      ? found("degraded", `An answer took ${(took / 1000).toFixed(1)} s.`)
      : found("operational", null);
  } catch (cause) {
    return found("down", `The server did not answer: ${clean(String((cause as Error).message), 200)}`);
  }
}

/**
 * Providers with hosts by whether they answer, providers elsewhere by whether their machines can call home, and
 * providers that could not be loaded.
 */
async function probeProviders(ctx: Ctx): Promise<Probe[]> {
  const hosts = await ctx.db.select().from(host);
  const oldest = ctx.clock.now() - HEARTBEAT_TIMEOUT_MS;
  const home = callsHome(ctx) ? await homeProblem(ctx) : null;
  const loaded = ctx.compute.list().map(({ plugin, provider }): Probe => {
    const component = `provider:${plugin.id}`;
    if (home && !plugin.capabilities.local)
      return { component, state: "down", problem: `${home.message} ${home.remedy}`.slice(0, 500) };
    const own = hosts.filter((one) => one.provider === plugin.id);
    const silent = own.filter((one) => one.seenAt < oldest).map((one) => one.label ?? one.name);
    if (!provider.hosts || silent.length === 0) return { component, state: "operational", problem: null };
    const state = silent.length === own.length ? "down" : "degraded";
    return { component, state, problem: `Unreachable: ${silent.join(", ")}`.slice(0, 500) };
  });
  const failed = pluginProblems(ctx)
    .filter(({ plugin }) => !ctx.compute.get(plugin))
    .map(({ plugin, message }): Probe => ({ component: `provider:${plugin}`, state: "down", problem: message }));
  return [...loaded, ...new Map(failed.map((one) => [one.component, one])).values()];
}

/** The scheduler works, and a provider can launch a job. */
function probeTraining(ctx: Ctx, providers: Probe[]): Probe {
  const found = (state: ProbeState, problem: string | null): Probe => ({ component: "training", state, problem });
  const late = ctx.clock.now() - lastRound(ctx);
  if (late > ROUND_LATE_MS) return found("down", `The scheduler has not run for ${Math.round(late / 1000)} s.`);
  const usable = providers.filter(({ state }) => state !== "down");
  if (usable.length === 0) return found("down", "No provider can start a job.");
  const environment = trainerProblem(ctx);
  if (environment) {
    const others = usable.some(({ component }) => {
      const kind = ctx.compute.get(component.slice("provider:".length))?.plugin.kind;
      return kind !== undefined && kind !== "process";
    });
    return found(others ? "degraded" : "down", environment);
  }
  return usable.length < providers.length
    ? found("degraded", "Some providers cannot start jobs.")
    : found("operational", null);
}

/** Every endpoint that should run; what sleeps or was stopped is not counted. */
async function probeInference(ctx: Ctx): Promise<Probe> {
  const rows = await ctx.db
    .select({ state: deployment.state, restarts: deployment.restarts })
    .from(deployment)
    .where(and(eq(deployment.wanted, "running"), isNull(deployment.deletedAt)));
  const failing = rows.filter(({ state, restarts }) => state === "failed" || (state === "starting" && restarts > 0));
  const found = (state: ProbeState, problem: string | null): Probe => ({ component: "inference", state, problem });
  if (rows.length === 0) return found("unused", null);
  if (failing.length === 0) return found("operational", null);
  return found(
    failing.length === rows.length ? "down" : "degraded",
    `${failing.length} of ${rows.length} endpoints fail.`,
  );
}

/** The bucket, where files are kept in one. */
async function probeStorage(ctx: Ctx): Promise<Probe[]> {
  if (!ctx.bucket || ctx.config.artifact_store !== "s3") return [];
  const problem = await bucketProblem(ctx);
  return [{ component: "storage", state: problem === null ? "operational" : "down", problem }];
}

/** Probes every component once. */
export async function probeAll(ctx: Ctx): Promise<Probe[]> {
  const [api, inference, providers, storage] = await Promise.all([
    probeApi(ctx),
    probeInference(ctx),
    probeProviders(ctx),
    probeStorage(ctx),
  ]);
  return [api, probeTraining(ctx, providers), inference, ...storage, ...providers];
}
