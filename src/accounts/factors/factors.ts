/** The second factors of an account together: the app, passkeys and recovery codes, and what follows from a change. */
import { and, count, eq, gte } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { passkey, twoFactor, user } from "../../db/schema/auth.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { cookieName, readCookie } from "../../lib/cookies.ts";
import { newSecret, randomChars } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { isHttps, sessionCookie } from "../auth/better.ts";
import { isTwoFactorRequired } from "../auth/policy.ts";
import { countCodes, isStored, newCodes, storedCodes } from "../auth/recovery-codes.ts";
import { endSessions, forgetSessions, signedText } from "../auth/sessions.ts";
import type { Client } from "../auth/sign-in.ts";

/** Second factors of an account. */
interface Factors {
  /** An authenticator app is set up. */
  app: boolean;
  passkeys: number;
  codesLeft: number;
}

export async function factorsOf(db: Db, userId: string): Promise<Factors> {
  const [row] = await db
    .select({ verified: twoFactor.verified, codes: twoFactor.backupCodes })
    .from(twoFactor)
    .where(eq(twoFactor.userId, userId))
    .limit(1);
  const [keys] = await db.select({ number: count() }).from(passkey).where(eq(passkey.userId, userId));
  const app = row?.verified ?? false;
  const passkeys = keys?.number ?? 0;
  // Codes of an earlier version that could not be converted count as none.
  const codes = row && isStored(row.codes) ? countCodes(row.codes) : 0;
  return { app, passkeys, codesLeft: app || passkeys > 0 ? codes : 0 };
}

/** A secret that no app has, sealed: the row then holds only recovery codes. */
const noSecret = (ctx: Ctx, userId: string) => seal(ctx.secret, sealedIn("authenticator", userId), newSecret(""));

/** Replaces the recovery codes; only their hashes are stored. */
export async function replaceCodes(ctx: Ctx, userId: string): Promise<string[]> {
  const codes = newCodes();
  const backupCodes = await storedCodes(userId, codes);
  const fresh = { id: randomChars(32), userId, secret: noSecret(ctx, userId), backupCodes, verified: false };
  await ctx.write((tx) =>
    tx.insert(twoFactor).values(fresh).onConflictDoUpdate({ target: twoFactor.userId, set: { backupCodes } }),
  );
  return codes;
}

/** Removes the app. The recovery codes stay for the passkeys. */
export const dropApp = (tx: Db, ctx: Ctx, userId: string) =>
  tx
    .update(twoFactor)
    .set({ verified: false, secret: noSecret(ctx, userId) })
    .where(eq(twoFactor.userId, userId));

/**
 * Stores whether the account has a second factor, after one was added or removed. The last one takes the codes along.
 * @returns whether it has one
 */
async function settle(tx: Db, userId: string): Promise<boolean> {
  const { app, passkeys } = await factorsOf(tx, userId);
  const twoFactorEnabled = app || passkeys > 0;
  if (!twoFactorEnabled) await tx.delete(twoFactor).where(eq(twoFactor.userId, userId));
  await tx.update(user).set({ twoFactorEnabled }).where(eq(user.id, userId));
  return twoFactorEnabled;
}

const lastFactor = () =>
  new AppError(
    "conflict",
    "two_factor_required",
    "Two-factor authentication is required here, and this is your last second factor. Set up another one first.",
  );

/** Removes every second factor of an account, and its recovery codes. */
export async function dropAllFactors(tx: Db, userId: string): Promise<void> {
  await tx.delete(twoFactor).where(eq(twoFactor.userId, userId));
  await tx.delete(passkey).where(eq(passkey.userId, userId));
  await tx.update(user).set({ twoFactorEnabled: false }).where(eq(user.id, userId));
}

/** What somebody else may have added to an account: passkeys since a time, and the app where it is newer too. */
export async function dropFactorsSince(tx: Db, ctx: Ctx, userId: string, since: number, app: boolean): Promise<number> {
  const gone = await tx
    .delete(passkey)
    .where(and(eq(passkey.userId, userId), gte(passkey.createdAt, since)))
    .returning({ id: passkey.id });
  if (app) {
    await dropApp(tx, ctx, userId);
    // Whoever set the app up saw new codes.
    await tx.update(twoFactor).set({ backupCodes: "[]" }).where(eq(twoFactor.userId, userId));
  }
  await settle(tx, userId);
  return gone.length;
}

/** The token of the session that asks. @throws AppError `session_required` for API keys */
export function ownSession(ctx: Ctx, actor: Actor, client: Client): string {
  const value = readCookie(client.cookies, cookieName(sessionCookie(ctx), isHttps(ctx)));
  const token = value && signedText(ctx, value);
  if (actor.via === "session" && token) return token;
  throw new AppError(
    "forbidden",
    "session_required",
    "The second factor can be changed only in a browser session, not with an API key. Sign in and use Settings.",
  );
}

/**
 * Adds or removes a factor in `change`, and ends all sessions of the account but one.
 * @param keep token of the session that stays
 * @throws AppError `two_factor_required` for the last factor of an account that must have one
 */
export async function changeFactors(
  ctx: Ctx,
  userId: string,
  keep: string | null,
  change: (tx: Db) => Promise<void>,
): Promise<void> {
  const required = await isTwoFactorRequired(ctx, userId);
  await ctx.write(async (tx) => {
    await change(tx);
    if (!(await settle(tx, userId)) && required) throw lastFactor();
    await endSessions(tx, userId, keep);
  });
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
}
