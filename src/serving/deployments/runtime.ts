/**
 * What a running server knows about its deployments beyond the database: requests in flight, last use, cached routes,
 * and restart times.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import type { Serving } from "./model.ts";

export interface Runtime {
  /** Deployments being reconciled right now. */
  busy: Set<string>;
  /** Time of each engine's last health probe (monotonic milliseconds). */
  probedAt: Map<string, number>;
  /** Requests in flight, by deployment. */
  active: Map<string, number>;
  /** Last use in milliseconds since 1970, by deployment; stored in the row by the loop. */
  used: Map<string, number>;
  /** Last request by deployment; starting one counts as a use, but not as a request. */
  requested: Map<string, number>;
  /** Adapters loaded into an engine after its start, by serve job. */
  loaded: Map<string, Set<string>>;
  /** Earliest restart of a deployment whose engine terminated (milliseconds since 1970). */
  notBefore: Map<string, number>;
  /** Consecutive health probes that failed. */
  missed: Map<string, number>;
  /** When a deployment became ready or failed, in this process. */
  since: Map<string, number>;
  /** Cached routes by organization and model; cleared whenever a deployment or model changes. */
  routes: Map<string, Serving>;
  /** Counts those changes, so that a search that began before one does not cache its result after it. */
  generation: number;
  /** Searches and starts in progress, shared by all requests for the same model. */
  pending: Map<string, Promise<Serving>>;
  /** Callbacks of requests that wait for a change. */
  waiters: Set<() => void>;
  /** Wakes the reconcile loop. */
  hint: () => void;
}

/** The runtime state of a context, created at first use. */
export const runtimeOf = perContext(createRuntime);

function createRuntime(ctx: Ctx): Runtime {
  const runtime: Runtime = {
    busy: new Set(),
    probedAt: new Map(),
    active: new Map(),
    used: new Map(),
    requested: new Map(),
    loaded: new Map(),
    notBefore: new Map(),
    missed: new Map(),
    since: new Map(),
    routes: new Map(),
    generation: 0,
    pending: new Map(),
    waiters: new Set(),
    hint: () => {},
  };
  const changed = () => {
    runtime.generation++;
    runtime.routes.clear();
    for (const wake of [...runtime.waiters]) wake();
  };
  ctx.bus.on("deployment.changed", changed);
  ctx.bus.on("model.deleted", changed);
  ctx.bus.on("model.created", changed);
  ctx.bus.on("checkpoint.unshared", changed);
  ctx.bus.on("base_model.changed", changed);
  return runtime;
}

/** Waits for a change of any deployment, at most `ms` milliseconds. */
export function nextChange(runtime: Runtime, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      runtime.waiters.delete(done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    runtime.waiters.add(done);
  });
}

/** Drops the state of a deleted deployment. */
export function forget(runtime: Runtime, deploymentId: string): void {
  for (const map of [
    runtime.active,
    runtime.used,
    runtime.requested,
    runtime.notBefore,
    runtime.missed,
    runtime.since,
    runtime.probedAt,
  ])
    map.delete(deploymentId);
}
