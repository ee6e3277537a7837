/** Two-factor authentication of a user's own account: set up an authenticator app, recovery codes, switch it off. */
import { and, eq, ne } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { member, session, twoFactor, user } from "../../db/schema/auth.ts";
import { AppError, notFound } from "../../errors.ts";
import { cookieName, readCookie } from "../../lib/cookies.ts";
import { audit } from "../audit/service.ts";
import { betterAuthOf, isHttps, sessionCookie } from "./better.ts";
import { readCode, useCode, wrongCode } from "./codes.ts";
import { announceSecurity } from "./events.ts";
import { isTwoFactorRequired } from "./policy.ts";
import { countCodes, newCodes, storedCodes } from "./recovery-codes.ts";
import { endSessions, forgetSessions, startSession, tokenIn } from "./sessions.ts";
import { type Client, hasPassword, isRefusal, provePassword } from "./sign-in.ts";
import { attempt } from "./throttle.ts";

/** What a user sees of the second factor of their account. */
export interface TwoFactorState {
  enabled: boolean;
  recoveryCodesLeft: number;
  /** False for accounts of single sign-on, which are not asked for one. */
  hasPassword: boolean;
}

/** A new authenticator that is not confirmed yet. */
export interface Enrollment {
  /** `otpauth://totp/…`, for the QR code. */
  uri: string;
  /** The same secret to type, in base32. */
  secret: string;
}

const mismatch = (code: string, message: string) => new AppError("conflict", code, message);
const notEnabled = () => mismatch("two_factor_off", "Two-factor authentication is not set up. Set it up first.");

/** The session cookie alone, as better-auth reads it. @throws AppError `session_required` for API keys */
function headersOf(ctx: Ctx, actor: Actor, client: Client): Headers {
  const name = cookieName(sessionCookie(ctx), isHttps(ctx));
  const value = readCookie(client.cookies, name);
  if (actor.via !== "session" || value === null)
    throw new AppError(
      "forbidden",
      "session_required",
      "The second factor can be changed only in a browser session, not with an API key. Sign in and use Settings.",
    );
  return new Headers({ cookie: `${name}=${value}`, "user-agent": client.userAgent.slice(0, 200) });
}

/** The password as better-auth takes it: absent for an account without one. */
const given = (password: string) => (password ? { password } : {});

/** Replaces the recovery codes; only their hashes are stored. */
async function replaceCodes(ctx: Ctx, userId: string): Promise<string[]> {
  const codes = newCodes();
  const backupCodes = await storedCodes(userId, codes);
  await ctx.write((tx) => tx.update(twoFactor).set({ backupCodes }).where(eq(twoFactor.userId, userId)));
  return codes;
}

export async function twoFactorState(ctx: Ctx, actor: Actor): Promise<TwoFactorState> {
  const [row] = await ctx.db
    .select({ verified: twoFactor.verified, codes: twoFactor.backupCodes })
    .from(twoFactor)
    .where(eq(twoFactor.userId, actor.userId))
    .limit(1);
  const enabled = row?.verified ?? false;
  const recoveryCodesLeft = row?.verified ? countCodes(row.codes) : 0;
  return { enabled, recoveryCodesLeft, hasPassword: await hasPassword(ctx, actor.userId) };
}

/**
 * Starts to set up an authenticator; it counts after `confirmTwoFactor`.
 * @throws AppError `session_required`, `wrong_password`, `two_factor_on`
 */
export async function startTwoFactor(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<Enrollment> {
  const headers = headersOf(ctx, actor, client);
  if ((await twoFactorState(ctx, actor)).enabled)
    throw mismatch("two_factor_on", "Two-factor authentication is on. Switch it off before you set up another app.");
  await provePassword(ctx, actor, password, client);
  const auth = await betterAuthOf(ctx);
  const answer = await auth.api.enableTwoFactor({ body: { ...given(password), method: "totp" }, headers });
  if (!("totpURI" in answer) || !answer.totpURI) throw new Error("the authenticator has no address");
  return { uri: answer.totpURI, secret: new URL(answer.totpURI).searchParams.get("secret") ?? "" };
}

/**
 * Confirms an authenticator with its first code. All other sessions of the user end.
 * @returns recovery codes, and `Set-Cookie` values of the new session
 * @throws AppError `session_required`, `two_factor_not_started`, `wrong_code`
 */
export async function confirmTwoFactor(
  ctx: Ctx,
  actor: Actor,
  client: Client,
  text: string,
): Promise<{ codes: string[]; cookies: string[] }> {
  const headers = headersOf(ctx, actor, client);
  const [row] = await ctx.db.select().from(twoFactor).where(eq(twoFactor.userId, actor.userId)).limit(1);
  if (!row || row.verified)
    throw mismatch("two_factor_not_started", "Start to set up two-factor authentication before you confirm it.");
  const tries = await attempt(ctx, { account: `code ${actor.userId}`, address: client.address });
  const code = readCode(text);
  if (!code) throw wrongCode();
  await useCode(ctx, actor.userId, code);
  const auth = await betterAuthOf(ctx);
  const answer = await auth.api.verifyTOTP({ body: { code }, headers, returnHeaders: true }).catch((error: unknown) => {
    throw isRefusal(error) ? wrongCode() : error;
  });
  await tries.success();
  const cookies = answer.headers.getSetCookie();
  await changed(ctx, actor, "two_factor.enable", cookies);
  announceSecurity(ctx, actor, "two_factor.added", client);
  return { codes: await replaceCodes(ctx, actor.userId), cookies };
}

/** Records a change, and ends all sessions but the one of `cookies`. */
async function changed(ctx: Ctx, actor: Actor, action: string, cookies: string[]): Promise<void> {
  const token = tokenIn(ctx, cookies);
  await ctx.write(async (tx) => {
    if (token) {
      await tx.delete(session).where(and(eq(session.userId, actor.userId), ne(session.token, token)));
      await startSession(tx, ctx, token);
    }
    await audit(tx, ctx, actor, action, actor.userId);
  });
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId: actor.userId });
}

/** Replaces the recovery codes. @throws AppError `session_required`, `wrong_password`, `two_factor_off` */
export async function newRecoveryCodes(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<string[]> {
  headersOf(ctx, actor, client);
  if (!(await twoFactorState(ctx, actor)).enabled) throw notEnabled();
  await provePassword(ctx, actor, password, client);
  const codes = await replaceCodes(ctx, actor.userId);
  await ctx.write((tx) => audit(tx, ctx, actor, "two_factor.new_codes", actor.userId));
  announceSecurity(ctx, actor, "two_factor.new_codes", client);
  return codes;
}

/**
 * Switches two-factor authentication off.
 * @returns `Set-Cookie` values of the new session
 * @throws AppError `session_required`, `wrong_password`, `two_factor_off`, `two_factor_required`
 */
export async function disableTwoFactor(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<string[]> {
  const headers = headersOf(ctx, actor, client);
  if (!(await twoFactorState(ctx, actor)).enabled) throw notEnabled();
  if (await isTwoFactorRequired(ctx, actor.userId))
    throw mismatch("two_factor_required", "Two-factor authentication is required here and cannot be switched off.");
  await provePassword(ctx, actor, password, client);
  const auth = await betterAuthOf(ctx);
  const answer = await auth.api.disableTwoFactor({ body: given(password), headers, returnHeaders: true });
  const cookies = answer.headers.getSetCookie();
  await changed(ctx, actor, "two_factor.disable", cookies);
  announceSecurity(ctx, actor, "two_factor.removed", client);
  return cookies;
}

/**
 * Removes the second factor of a user who lost it, and ends their sessions. Administrators only.
 * @throws AppError `user_not_found`, `two_factor_off`
 */
export async function resetTwoFactor(ctx: Ctx, actor: Actor, userId: string): Promise<void> {
  requireAdmin(actor);
  const org = await ctx.write(async (tx) => {
    const [found] = await tx
      .select({ enabled: user.twoFactorEnabled, org: member.organizationId })
      .from(user)
      .leftJoin(member, eq(member.userId, user.id))
      .where(eq(user.id, userId))
      .limit(1);
    if (!found) throw notFound("user", userId);
    if (!found.enabled) throw notEnabled();
    await tx.update(user).set({ twoFactorEnabled: false }).where(eq(user.id, userId));
    await tx.delete(twoFactor).where(eq(twoFactor.userId, userId));
    await endSessions(tx, userId);
    await audit(tx, ctx, actor, "two_factor.reset", userId);
    return found.org ?? "";
  });
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
  announceSecurity(ctx, { userId, org }, "two_factor.reset", actor.source);
}
