/** Browser sessions: the actor behind a signed cookie, and signing out. */
import { timingSafeEqual } from "node:crypto";
import { and, eq, gt, ne, type SQL } from "drizzle-orm";
import { type Actor, type Ctx, type Hold, perContext, type Source } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { member, organization, session, user } from "../../db/schema/auth.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { cookieName, readCookie, writeCookie } from "../../lib/cookies.ts";
import { newSecret, randomChars } from "../../lib/ids.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";
import { can, powersOf } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import { holdOn, suspendedError } from "../holds/service.ts";
import { isHttps, sessionCookie } from "./better.ts";
import { twoFactorDeadline } from "./policy.ts";

type Tx = Parameters<Parameters<Ctx["write"]>[0]>[0];

interface Cached {
  actor: Actor | null;
  until: number;
}
interface SessionState {
  cache: Lru<Cached>;
  epoch: number;
  cookie: string;
}

const HOUR_MS = 3_600_000;
/** How long a proof counts. */
export const PROOF_MS = 15 * 60_000;
const CACHE_SIZE = 5_000;
const CACHE_MS = 15_000;
/** The time of last use is written at most this often. */
const SEEN_MS = 60_000;
const stateOf = perContext(
  (ctx): SessionState => ({ cache: lruOf(CACHE_SIZE), epoch: 0, cookie: cookieName(sessionCookie(ctx), isHttps(ctx)) }),
);

/** Sessions that have not ended: by their own end, by the longest life, and by the time without a request. */
export function openSessions(ctx: Ctx): SQL | undefined {
  const now = ctx.clock.now();
  const { session_days: days, session_idle_hours: idle } = ctx.config;
  return and(
    gt(session.expiresAt, new Date(now)),
    gt(session.createdAt, new Date(now - days * DAY_MS)),
    idle === 0 ? undefined : gt(session.updatedAt, new Date(now - idle * HOUR_MS)),
  );
}

/** True when an action that needs a proof may go on. */
export function isProved(ctx: Ctx, actor: Actor): boolean {
  return actor.via !== "session" || ctx.clock.now() - (actor.provedAt ?? 0) <= PROOF_MS;
}

/** Starts the life of a session that better-auth created now, by the server's clock; the password was just given. */
export async function startSession(tx: Tx, ctx: Ctx, token: string): Promise<void> {
  const now = ctx.clock.now();
  const at = new Date(now);
  await tx
    .update(session)
    .set({
      provedAt: now,
      createdAt: at,
      updatedAt: at,
      expiresAt: new Date(now + ctx.config.session_days * DAY_MS),
    })
    .where(eq(session.token, token));
}

/** Drops every cached session: after signing out, or when a user or membership changed. */
export function forgetSessions(ctx: Ctx): void {
  const state = stateOf(ctx);
  state.epoch++;
  state.cache.clear();
}

/** The text of a cookie that better-auth signed (`text.signature`, HMAC-SHA256 in base64); null when it is forged. */
export function signedText(ctx: Ctx, cookie: string): string | null {
  let text: string;
  try {
    text = decodeURIComponent(cookie);
  } catch {
    return null;
  }
  const at = text.lastIndexOf(".");
  if (at < 1) return null;
  const token = text.slice(0, at);
  const expected = new Bun.CryptoHasher("sha256", ctx.secret).update(token).digest();
  const given = Buffer.from(text.slice(at + 1), "base64");
  return given.length === expected.length && timingSafeEqual(given, expected) ? token : null;
}

/** A cookie's value as better-auth signs it, which `signedText` reads. */
export function signText(ctx: Ctx, text: string): string {
  const signature = new Bun.CryptoHasher("sha256", ctx.secret).update(text).digest("base64");
  return encodeURIComponent(`${text}.${signature}`);
}

/**
 * Creates a session that better-auth did not; `signedIn` starts its life and records it.
 * @returns `Set-Cookie` values for the browser
 * @throws AppError `account_suspended`
 */
export async function openSession(
  ctx: Ctx,
  userId: string,
  client: Source,
  how: { method: string | null; twoFactors: boolean },
): Promise<string[]> {
  const token = newSecret("");
  const now = new Date(ctx.clock.now());
  const lifeS = ctx.config.session_days * (DAY_MS / 1000);
  const opened = await ctx.write(async (tx) => {
    const [owner] = await tx
      .select({ banned: user.banned })
      .from(user)
      .where(and(eq(user.id, userId), isPerson))
      .limit(1);
    if (!owner || owner.banned) return false;
    await tx.insert(session).values({
      id: randomChars(32),
      token,
      userId,
      ipAddress: client.address,
      userAgent: client.userAgent.slice(0, 200),
      ...how,
      expiresAt: new Date(now.getTime() + lifeS * 1000),
      createdAt: now,
      updatedAt: now,
    });
    return true;
  });
  if (!opened) throw await suspendedError(ctx, userId);
  return [writeCookie(sessionCookie(ctx), signText(ctx, token), { secure: isHttps(ctx), maxAgeS: lifeS })];
}

/** The session token among `Set-Cookie` values of better-auth: the last one with a value. */
export function tokenIn(ctx: Ctx, setCookies: string[]): string | null {
  const name = stateOf(ctx).cookie;
  const values = setCookies.map((each) => readCookie(each.split(";")[0] ?? "", name)).filter((value) => value);
  return signedText(ctx, values.at(-1) ?? "");
}

/** Stores when a session was last used; the request does not wait for it. */
function noteUse(ctx: Ctx, token: string, userId: string): void {
  const now = ctx.clock.now();
  ctx
    .write(
      async (tx) => {
        await tx
          .update(session)
          .set({ updatedAt: new Date(now) })
          .where(eq(session.token, token));
        await tx.update(user).set({ lastSeenAt: now }).where(eq(user.id, userId));
      },
      { relaxed: true },
    )
    .catch((cause) => ctx.log("warn", "the time of last use of a session could not be written", { cause }));
}

async function lookUp(ctx: Ctx, token: string): Promise<{ actor: Actor; expiresAt: number } | null> {
  const rows = await ctx.db
    .select({
      userId: user.id,
      email: user.email,
      role: user.role,
      banned: user.banned,
      active: session.activeOrganizationId,
      org: member.organizationId,
      teamRole: member.role,
      since: organization.twoFactorSince,
      twoFactor: user.twoFactorEnabled,
      createdAt: user.createdAt,
      expiresAt: session.expiresAt,
      seenAt: session.updatedAt,
      startedAt: session.createdAt,
      provedAt: session.provedAt,
      method: session.method,
      twoFactors: session.twoFactors,
    })
    .from(session)
    .innerJoin(user, eq(user.id, session.userId))
    .innerJoin(member, eq(member.userId, user.id))
    .innerJoin(organization, eq(organization.id, member.organizationId))
    .where(and(eq(session.token, token), openSessions(ctx)))
    .orderBy(member.createdAt)
    .limit(100);
  let row = rows.find((each) => each.org === each.active) ?? rows[0];
  if (!row || row.banned) return null;
  let hold = await holdOn(ctx.db, row);
  // Who belongs to several organizations works in one that may work; who can pay for one stays there.
  const isOut = (one: (typeof rows)[number], kind: Hold["kind"] | undefined) =>
    kind === "suspended" || (kind === "unpaid" && !can(powersOf(one.role, one.teamRole), "billing.manage"));
  for (const other of isOut(row, hold?.kind) ? rows : []) {
    const next = await holdOn(ctx.db, other);
    if (next?.kind === "suspended" || next?.kind === "unpaid") continue;
    [row, hold] = [other, next];
    break;
  }
  const { userId, org, role, email } = row;
  if (row.seenAt.getTime() <= ctx.clock.now() - SEEN_MS) noteUse(ctx, token, userId);
  const by =
    row.twoFactor || row.twoFactors
      ? null
      : await twoFactorDeadline(ctx, { ...row, createdAt: row.createdAt.getTime() });
  return {
    actor: {
      userId,
      org,
      ...powersOf(role, row.teamRole),
      via: "session",
      keyId: null,
      email,
      twoFactorBy: by ?? undefined,
      provedAt: row.provedAt ?? row.startedAt.getTime(),
      signedInWith: row.method ?? undefined,
      ...(hold ? { hold } : {}),
    },
    expiresAt: row.expiresAt.getTime(),
  };
}

/** The token of a request's session cookie; null when it is missing or forged. */
export function sessionToken(ctx: Ctx, request: Request): string | null {
  const cookie = readCookie(request.headers.get("cookie"), stateOf(ctx).cookie);
  return cookie ? signedText(ctx, cookie) : null;
}

/** The actor behind the session cookie, or null when it is missing, forged, ended or expired. */
export async function actorOfCookie(ctx: Ctx, request: Request): Promise<Actor | null> {
  const header = request.headers.get("cookie");
  if (!header) return null;
  const state = stateOf(ctx);
  const cookie = readCookie(header, state.cookie);
  if (!cookie) return null;
  const now = ctx.clock.now();
  const cached = state.cache.get(cookie);
  if (cached && cached.until > now) return cached.actor;
  const token = signedText(ctx, cookie);
  // A forged cookie is not cached: it would evict real ones.
  if (!token) return null;
  const { epoch } = state;
  const found = await lookUp(ctx, token);
  if (found && epoch === state.epoch)
    state.cache.set(cookie, { actor: found.actor, until: Math.min(now + CACHE_MS, found.expiresAt) });
  return found?.actor ?? null;
}

/** Ends the session of a request's cookie. @returns `Set-Cookie` values that clear the cookie */
export async function signOut(ctx: Ctx, request: Request, actor: Actor): Promise<string[]> {
  const token = sessionToken(ctx, request);
  if (token) {
    const ended = await ctx.write(async (tx) => {
      const [row] = await tx.delete(session).where(eq(session.token, token)).returning();
      if (row)
        await audit(tx, ctx, { ...actor, userId: row.userId }, "session.end", row.userId, { address: row.ipAddress });
      return row;
    });
    forgetSessions(ctx);
    if (ended) ctx.bus.emit("session.ended", { userId: ended.userId });
  }
  return [writeCookie(sessionCookie(ctx), "", { secure: isHttps(ctx), maxAgeS: 0 })];
}

/** Ends every session of a user but `keep`, in the caller's transaction; call `forgetSessions` afterwards. */
export async function endSessions(tx: Tx, userId: string, keep: string | null = null): Promise<void> {
  await tx.delete(session).where(and(eq(session.userId, userId), keep === null ? undefined : ne(session.token, keep)));
}
