/**
 * Finds the actor behind an API key by its SHA-256. A bounded cache drops revoked keys at once; times of last use are
 * written in batches.
 */
import { and, eq, gt, isNull, or, sql } from "drizzle-orm";
import type { Actor, Ctx, KeyLimit } from "../../ctx.ts";
import { perContext } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { apiKey, member, user } from "../../db/schema/auth.ts";
import { sha256Hex } from "../../lib/ids.ts";
import { lruOf } from "../../lib/lru.ts";
import { addressMatcher } from "../../lib/net/addresses.ts";
import { powersOf } from "../../roles.ts";
import { holdOn } from "../holds/service.ts";

interface Found {
  actor: Actor;
  expiresAt: number | null;
}

const CACHE_SIZE = 10_000;
/** A cached answer is read from the database again after this time. */
const CACHE_MS = 60_000;
const USED_FLUSH_MS = 5_000;
const KEY = /^ftl-[0-9a-z]{32}$/;

interface KeyState {
  cache: ReturnType<typeof lruOf<{ found: Found | null; until: number }>>;
  used: Map<string, number>;
  timer: ReturnType<typeof setTimeout> | null;
  /** Counts revocations and changes of users: an answer that was read before one is not cached after it. */
  epoch: number;
}
const stateOf = perContext((): KeyState => ({ cache: lruOf(CACHE_SIZE), used: new Map(), timer: null, epoch: 0 }));

/** Drops every cached key: after a revocation, or when a user changed. */
export function forgetKeys(ctx: Ctx): void {
  const state = stateOf(ctx);
  state.epoch++;
  state.cache.clear();
}

/** Writes the collected times of last use; also runs by itself every few seconds while keys are used. */
export async function flushKeyUse(ctx: Ctx): Promise<void> {
  const state = stateOf(ctx);
  if (state.timer) clearTimeout(state.timer);
  state.timer = null;
  if (state.used.size === 0) return;
  const used = sqlJson([...state.used]);
  state.used.clear();
  await ctx.write(
    (tx) =>
      tx.run(
        sql`UPDATE api_key SET last_used_at = (SELECT json_extract(value, '$[1]') FROM json_each(${used}) WHERE json_extract(value, '$[0]') = api_key.id) WHERE id IN (SELECT json_extract(value, '$[0]') FROM json_each(${used}))`,
      ),
    { relaxed: true },
  );
}

function noteUse(ctx: Ctx, state: KeyState, keyId: string): void {
  state.used.set(keyId, ctx.clock.now());
  if (state.timer) return;
  state.timer = setTimeout(() => {
    flushKeyUse(ctx).catch((cause) => ctx.log("warn", "times of last key use could not be written", { cause }));
  }, USED_FLUSH_MS);
  state.timer.unref?.();
}

type KeyRow = typeof apiKey.$inferSelect;

/** The restrictions of one key; none when it has none. */
function limitsOf(row: KeyRow): KeyLimit[] {
  const { id: keyId, allowedAddresses, allowedModels: models, requestsPerMinute, tokensPerMinute } = row;
  if (!allowedAddresses && !models && requestsPerMinute === null && tokensPerMinute === null) return [];
  const allows = allowedAddresses && addressMatcher(allowedAddresses);
  return [{ keyId, allows, models, requestsPerMinute, tokensPerMinute }];
}

/** The restrictions of a key and of the keys that created it, as they are now. */
async function chainOfLimits(ctx: Ctx, row: KeyRow): Promise<KeyLimit[]> {
  const limits = limitsOf(row);
  for (let next = row.parentId; next !== null; ) {
    const [parent] = await ctx.db.select().from(apiKey).where(eq(apiKey.id, next)).limit(1);
    if (parent) limits.push(...limitsOf(parent));
    next = parent?.parentId ?? null;
  }
  return limits;
}

async function lookUp(ctx: Ctx, hash: string): Promise<Found | null> {
  const rows = await ctx.db
    .select({ key: apiKey, role: user.role, email: user.email, kind: user.kind, teamRole: member.role })
    .from(apiKey)
    .innerJoin(user, eq(user.id, apiKey.userId))
    .leftJoin(member, and(eq(member.userId, apiKey.userId), eq(member.organizationId, apiKey.org)))
    .where(
      and(
        or(eq(apiKey.hash, hash), and(eq(apiKey.previousHash, hash), gt(apiKey.previousUntil, ctx.clock.now()))),
        isNull(apiKey.revokedAt),
      ),
    )
    .limit(1);
  const row = rows[0];
  if (!row || row.teamRole === null) return null;
  const { key } = row;
  const hold = await holdOn(ctx.db, key);
  const limits = await chainOfLimits(ctx, key);
  return {
    actor: {
      userId: key.userId,
      org: key.org,
      ...powersOf(row.role, row.teamRole, key.scopes),
      ...(limits.length > 0 ? { limits } : {}),
      via: "key",
      keyId: key.id,
      email: row.kind === "service" ? null : row.email,
      ...(row.kind === "service" ? { service: true } : {}),
      ...(hold ? { hold } : {}),
    },
    // The replaced secret never outlives the key: `previousUntil` is at most its expiry.
    expiresAt: key.hash === hash ? key.expiresAt : key.previousUntil,
  };
}

/** The actor behind a key, with the hold on its user or organization; null when it is wrong, revoked or expired. */
export async function actorOfKey(ctx: Ctx, secret: string): Promise<Actor | null> {
  if (!KEY.test(secret)) return null;
  const state = stateOf(ctx);
  const hash = sha256Hex(secret);
  const now = ctx.clock.now();
  let entry = state.cache.get(hash);
  while (!entry || entry.until <= now) {
    const { epoch } = state;
    const found = await lookUp(ctx, hash);
    // A key was revoked or a user changed meanwhile: the answer may be outdated.
    if (epoch !== state.epoch) continue;
    entry = { found, until: now + CACHE_MS };
    state.cache.set(hash, entry);
  }
  const { found } = entry;
  if (!found || (found.expiresAt !== null && found.expiresAt <= now)) return null;
  noteUse(ctx, state, found.actor.keyId ?? "");
  return found.actor;
}
