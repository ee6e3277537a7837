/** The context of all services: the tools of the process, created in app.ts and replaceable in tests; and the actor. */
import type { Config } from "./config.ts";
import type { Provider, ProviderPlugin } from "./contract/provider.ts";
import type { Db } from "./db/types.ts";
import type { Writer } from "./db/write.ts";
import type { Bus } from "./lib/bus.ts";
import type { Clock } from "./lib/clock.ts";
import type { Files } from "./lib/disk/files.ts";
import type { FailPoints } from "./lib/fail-points.ts";
import type { FairQueue } from "./lib/fair-queue.ts";
import type { Log } from "./lib/log.ts";
import type { ObjectStore } from "./lib/objects/store.ts";
import { type InstallationRole, requirePermission, type Scope, type TeamRole } from "./roles.ts";

/** The active providers; see src/compute/providers/registry.ts. */
export interface ComputeRegistry {
  get(id: string): { plugin: ProviderPlugin; provider: Provider } | null;
  list(): { plugin: ProviderPlugin; provider: Provider }[];
}

export interface Ctx {
  /** Id of this installation; marks all resources of providers. */
  installation: string;
  /** Signs cookies and run passports, and seals stored secrets; kept outside the database. Never logged, never sent. */
  secret: string;
  config: Config;
  db: Db;
  write: Writer;
  /** Empties the write-ahead log of the database, where deleted rows remain; false when it is tried again later. */
  emptyLog(): Promise<boolean>;
  clock: Clock;
  log: Log;
  bus: Bus;
  files: Files;
  /** The data directory as a store of objects. */
  disk: ObjectStore;
  /** The bucket of the settings; null without one. */
  bucket: ObjectStore | null;
  compute: ComputeRegistry;
  /** Queues with turns between users: Python graders, and rows rendered as a model sees them. */
  turns: { graders: FairQueue; inspection: FairQueue };
  /** Address at which trainers of this machine call home (`unix:/…/trainer.sock`). */
  trainerHome: string;
  /** Kills the server at a named place when a test armed it; does nothing in production. */
  failPoint: FailPoints;
  /** Aborted when the server stops. */
  signal: AbortSignal;
  /** In-memory state of services; only `perContext` reads and writes it. */
  state: Map<symbol, unknown>;
}

/**
 * State of a service that belongs to one context, instead of a module.
 * @param create creates it on first use
 * @returns the function that gives the state of a context
 */
export function perContext<T>(create: (ctx: Ctx) => T): (ctx: Ctx) => T {
  const key = Symbol();
  return (ctx) => {
    if (!ctx.state.has(key)) ctx.state.set(key, create(ctx));
    return ctx.state.get(key) as T;
  };
}

/**
 * What `read` returns, read at first use and kept until it is forgotten. A read that failed is not kept.
 * @returns `get`; `last`, what `get` returned last, for callers that cannot wait; `set`; and `forget`
 */
export function keptRead<T>(read: (ctx: Ctx) => Promise<T>) {
  const stateOf = perContext((): { value: Promise<T> | null; last: T | null } => ({ value: null, last: null }));
  return {
    async get(ctx: Ctx): Promise<T> {
      const state = stateOf(ctx);
      state.value ??= read(ctx);
      const { value } = state;
      try {
        state.last = await value;
        return state.last;
      } catch (error) {
        if (state.value === value) state.value = null;
        throw error;
      }
    },
    last: (ctx: Ctx): T | null => stateOf(ctx).last,
    set(ctx: Ctx, value: T): void {
      stateOf(ctx).value = Promise.resolve(value);
    },
    forget(ctx: Ctx): void {
      stateOf(ctx).value = null;
    },
  };
}

/** Where a request came from. */
export interface Source {
  /** Client address; `local` over a Unix socket and in process. */
  address: string;
  userAgent: string;
}

/** Why an account, or its organization, may not work at present. */
export interface Hold {
  kind: "suspended" | "deactivated" | "unpaid" | "deletion";
  subject: "user" | "organization";
  /** For the people concerned; may be empty. */
  reason: string;
  /** When it ends, or when data is erased, in milliseconds since 1970; null = open. */
  until: number | null;
}

/** What the owner of an API key restricted it to; null = not restricted. */
export interface KeyLimit {
  keyId: string;
  /** Whether a client address may use it. */
  allows: ((address: string) => boolean) | null;
  /** Ids of models and names of deployments. */
  models: readonly string[] | null;
  requestsPerMinute: number | null;
  tokensPerMinute: number | null;
}

/** The user or program that acts. `org` is the organization whose rows it reads and writes. */
export interface Actor {
  userId: string;
  org: string;
  /** `admin` administers the installation; a key without the scope `admin` never does. */
  role: InstallationRole;
  teamRole: TeamRole;
  /** What a key may do of it; null = everything. */
  scopes: readonly Scope[] | null;
  /** The restrictions of the key and of the keys that created it, where there are any: all of them hold. */
  limits?: readonly KeyLimit[];
  via: "session" | "key" | "cli" | "system";
  keyId: string | null;
  email: string | null;
  /** A service account of the organization, not a person. */
  service?: true;
  /** When two-factor authentication must be set up, in milliseconds since 1970; absent when it is, or need not be. */
  twoFactorBy?: number;
  /** When a person in a browser last gave the password or the second factor, in milliseconds since 1970. */
  provedAt?: number;
  /** How the session began: `sso:` and the id of a provider; absent = with a password, or no session. */
  signedInWith?: string;
  /** The hold on the account or its organization; absent without one. */
  hold?: Hold;
  /** Where the request came from; absent for work of the server. */
  source?: Source;
}

const SERVER = { scopes: null, via: "system", keyId: null, email: null } as const;

/** The server itself, acting for `org` (or for the installation when empty). */
export function systemActor(org = ""): Actor {
  return { ...SERVER, userId: "system", org, role: "admin", teamRole: "owner" };
}

/** A person (or what they started) without more rights than a member's: for entries and work of their own account. */
export function memberActor(
  account: { userId: string; org: string; email?: string | null },
  via: Actor["via"] = "session",
): Actor {
  const { userId, org, email = null } = account;
  return { userId, org, role: "member", teamRole: "member", scopes: null, via, keyId: null, email };
}

/** Throws unless the actor administers the installation. */
export function requireAdmin(actor: Actor): void {
  requirePermission(actor, "installation");
}
