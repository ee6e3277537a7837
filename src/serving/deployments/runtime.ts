/**
 * What a running server knows about its deployments beyond the database: requests in flight, last use, routes found,
 * and when to try again.
 */
import type { Ctx } from "../../ctx.ts";
import type { Serving } from "./model.ts";

export interface Runtime {
  /** Deployments being looked at right now. */
  busy: Set<string>;
  /** When each engine was last asked for its health (monotonic milliseconds). */
  probedAt: Map<string, number>;
  /** Requests being answered now, by deployment. */
  active: Map<string, number>;
  /** Last use in milliseconds since 1970, by deployment; flushed to the row by the loop. */
  used: Map<string, number>;
  /** Adapters loaded into a running engine after its start, by serve job. */
  loaded: Map<string, Set<string>>;
  /** Not before this time may a deployment that died start again. */
  notBefore: Map<string, number>;
  /** Times in a row that the engine did not answer. */
  missed: Map<string, number>;
  /** When a deployment became ready or failed, in this process. */
  since: Map<string, number>;
  /** Routes found lately, by organization and model. Dropped whenever anything about deployments changes. */
  routes: Map<string, Serving>;
  /** Counts those changes, so that a search that began before one does not store its answer after it. */
  generation: number;
  /** Searches and starts under way, shared by all who ask for the same model. */
  pending: Map<string, Promise<Serving>>;
  /** Wakes whoever waits for a change. */
  waiters: Set<() => void>;
  /** Asks the loop to look now. */
  hint: () => void;
}

const runtimes = new WeakMap<Ctx, Runtime>();

/** The runtime of `ctx`, made at first use; it forgets routes on every change. */
export function runtimeOf(ctx: Ctx): Runtime {
  const found = runtimes.get(ctx);
  if (found) return found;
  const runtime: Runtime = {
    busy: new Set(),
    probedAt: new Map(),
    active: new Map(),
    used: new Map(),
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
  runtimes.set(ctx, runtime);
  const changed = () => {
    runtime.generation++;
    runtime.routes.clear();
    for (const wake of [...runtime.waiters]) wake();
  };
  ctx.bus.on("deployment.changed", changed);
  ctx.bus.on("model.deleted", changed);
  ctx.bus.on("model.created", changed);
  ctx.bus.on("base_model.changed", changed);
  return runtime;
}

/** Waits for a change of any deployment, at most `ms`. */
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

/** Forgets a deployment that is gone for good. */
export function forget(runtime: Runtime, deploymentId: string): void {
  for (const map of [runtime.active, runtime.used, runtime.notBefore, runtime.missed, runtime.since, runtime.probedAt])
    map.delete(deploymentId);
}
