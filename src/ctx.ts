/**
 * What every service gets: the tools of the process, built once in app.ts and replaced piece by piece in tests; and who
 * is asking.
 */
import type { Config } from "./config.ts";
import type { Provider, ProviderPlugin } from "./contract/provider.ts";
import type { Db } from "./db/types.ts";
import type { Writer } from "./db/write.ts";
import { AppError } from "./errors.ts";
import type { Bus } from "./lib/bus.ts";
import type { Clock } from "./lib/clock.ts";
import type { Files } from "./lib/disk/files.ts";
import type { FailPoints } from "./lib/fail-points.ts";
import type { FairQueue } from "./lib/fair-queue.ts";
import type { Log } from "./lib/log.ts";

/** The providers in use; see compute/service.ts. */
export interface ComputeRegistry {
  get(id: string): { plugin: ProviderPlugin; provider: Provider } | null;
  list(): { plugin: ProviderPlugin; provider: Provider }[];
}

export interface Ctx {
  /** Id of this installation; marks everything providers make. */
  installation: string;
  /** Signs cookies and seals stored secrets; lies outside the database. Never logged, never sent. */
  secret: string;
  config: Config;
  db: Db;
  write: Writer;
  clock: Clock;
  log: Log;
  bus: Bus;
  files: Files;
  compute: ComputeRegistry;
  /** Work of this process that people take turns in: Python graders, and rows shown as a model sees them. */
  turns: { graders: FairQueue; inspection: FairQueue };
  /** Where trainers of this machine call home (`unix:/…/trainer.sock`). */
  trainerHome: string;
  /** Kills the server at a named place when a test armed it; does nothing in production. */
  failPoint: FailPoints;
  /** Aborted when the server stops. */
  signal: AbortSignal;
  /** What services remember while the server runs; only `perContext` reads and writes it. */
  state: Map<symbol, unknown>;
}

/**
 * State of a service that belongs to one context and ends with it, so that none lives in a module.
 * @param create makes it when it is first asked for
 * @returns the state of a context
 */
export function perContext<T>(create: (ctx: Ctx) => T): (ctx: Ctx) => T {
  const key = Symbol();
  return (ctx) => {
    if (!ctx.state.has(key)) ctx.state.set(key, create(ctx));
    return ctx.state.get(key) as T;
  };
}

/** Who asks. `org` is the organization acted in; every row read or written belongs to it. */
export interface Actor {
  userId: string;
  org: string;
  /** `admin` administers the installation. */
  role: "admin" | "member";
  via: "session" | "key" | "cli" | "system";
  keyId: string | null;
  email: string | null;
}

/** The server itself, acting for `org` (or for the installation when empty). */
export function systemActor(org = ""): Actor {
  return { userId: "system", org, role: "admin", via: "system", keyId: null, email: null };
}

/** Throws unless the actor administers the installation. */
export function requireAdmin(actor: Actor): void {
  if (actor.role !== "admin")
    throw new AppError("forbidden", "admin_only", "Only an administrator of this installation can do that.");
}
