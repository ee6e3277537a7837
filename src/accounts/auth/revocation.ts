/**
 * Ends a request in progress when its access ends: a revoked key, an ended session, a disabled user, a changed role.
 */
import { and, eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { powersOf, samePowers } from "../../roles.ts";
import { holdOn } from "../holds/service.ts";
import { resolveActor, sendsKey } from "./service.ts";

/** Watches the access of one request until it is answered. Call `stop` at the end. */
export interface AccessWatch {
  /** Aborted when access ends or the client disconnects; `ended` says which. */
  readonly signal: AbortSignal;
  /** True once access has ended. */
  readonly ended: boolean;
  /** Resolves when a check in progress is done; null when there is none. Await it before sending more data. */
  settled(): Promise<unknown> | null;
  /** Checks the credentials now. */
  check(): Promise<unknown>;
  stop(): void;
}

/** The 401 of a request whose access ended while it was being answered. */
export function accessEnded(): AppError {
  return new AppError(
    "unauthenticated",
    "access_ended",
    "Access ended while this request was being answered: the API key was revoked, the session ended, or the account changed. Sign in or send another key.",
  );
}

/** Whether the request would still be accepted as the same user, organization and role. */
async function isValid(ctx: Ctx, actor: Actor, request: Request): Promise<boolean> {
  if (sendsKey(request) || request.headers.has("cookie")) {
    const now = await resolveActor(ctx, request);
    const same = !!now && now.userId === actor.userId && now.org === actor.org && samePowers(now, actor);
    return same && now.hold?.kind === actor.hold?.kind;
  }
  // The server itself asks on the actor's behalf: there are no credentials, only the account and its key.
  const [found] = await ctx.db
    .select({ role: user.role, teamRole: member.role, banned: user.banned })
    .from(user)
    .innerJoin(member, and(eq(member.userId, user.id), eq(member.organizationId, actor.org)))
    .where(eq(user.id, actor.userId))
    .limit(1);
  if (!found || found.banned || !samePowers(powersOf(found.role, found.teamRole, actor.scopes), actor)) return false;
  if ((await holdOn(ctx.db, actor))?.kind !== actor.hold?.kind) return false;
  if (!actor.keyId) return true;
  const [key] = await ctx.db
    .select({ revokedAt: apiKey.revokedAt })
    .from(apiKey)
    .where(eq(apiKey.id, actor.keyId))
    .limit(1);
  return key?.revokedAt === null;
}

/**
 * Watches the access that `actor` has through `request`. A check that fails for another reason ends access too.
 * Work of the server itself (`system`, `cli`) ends only with the request's signal.
 */
export function watchAccess(ctx: Ctx, actor: Actor, request: Request): AccessWatch {
  const stopper = new AbortController();
  let ended = false;
  let pending: Promise<unknown> | null = null;
  const end = () => {
    ended = true;
    stopper.abort();
  };
  const check = () => {
    const decided = isValid(ctx, actor, request).then(
      (valid) => valid || end(),
      (cause) => {
        ctx.log("warn", "access could not be verified and was ended", { user: actor.userId, cause });
        end();
      },
    );
    const all: Promise<unknown> = Promise.all([pending, decided]).then(() => {
      if (pending === all) pending = null;
    });
    pending = all;
    return all;
  };
  const onDisconnect = () => stopper.abort();
  request.signal.addEventListener("abort", onDisconnect, { once: true });
  const stops = [() => request.signal.removeEventListener("abort", onDisconnect)];
  if (request.signal.aborted) onDisconnect();
  if (actor.via === "key" || actor.via === "session") {
    stops.push(
      ctx.bus.on("key.revoked", (event) => {
        if (actor.keyId === event.keyId) end();
      }),
      ctx.bus.on("session.ended", (event) => {
        if (actor.userId === event.userId) void check();
      }),
      ctx.bus.on("hold.changed", ({ subject, id }) => {
        if (id === (subject === "user" ? actor.userId : actor.org)) void check();
      }),
    );
    // Access may have ended since the credentials were checked.
    void check();
  }
  return {
    signal: stopper.signal,
    get ended() {
      return ended;
    },
    settled: () => pending,
    check,
    stop() {
      for (const one of stops) one();
    },
  };
}
