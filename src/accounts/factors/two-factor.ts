/** Two-factor authentication of an account: the authenticator app, recovery codes, and an administrator's reset. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { member, twoFactor, user } from "../../db/schema/auth.ts";
import { AppError, notFound } from "../../errors.ts";
import { cookieName, readCookie } from "../../lib/cookies.ts";
import { audit } from "../audit/service.ts";
import { betterAuthOf, isHttps, sessionCookie } from "../auth/better.ts";
import { readCode, useCode, wrongCode } from "../auth/codes.ts";
import { announceSecurity } from "../auth/events.ts";
import { endSessions, forgetSessions, startSession, tokenIn } from "../auth/sessions.ts";
import { type Client, hasPassword, isRefusal, provePassword } from "../auth/sign-in.ts";
import { attempt } from "../auth/throttle.ts";
import { changeFactors, dropAllFactors, dropApp, factorsOf, ownSession, replaceCodes } from "./factors.ts";

/** What a user sees of the second factors of their account. */
export interface TwoFactorState {
  /** There is an app or a passkey. */
  enabled: boolean;
  app: boolean;
  passkeys: number;
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
  ownSession(ctx, actor, client);
  const name = cookieName(sessionCookie(ctx), isHttps(ctx));
  const cookie = `${name}=${readCookie(client.cookies, name)}`;
  return new Headers({ cookie, "user-agent": client.userAgent.slice(0, 200) });
}

/** The password as better-auth takes it: absent for an account without one. */
const given = (password: string) => (password ? { password } : {});

export async function twoFactorState(ctx: Ctx, actor: Actor): Promise<TwoFactorState> {
  const { app, passkeys, codesLeft } = await factorsOf(ctx.db, actor.userId);
  const enabled = app || passkeys > 0;
  return { enabled, app, passkeys, recoveryCodesLeft: codesLeft, hasPassword: await hasPassword(ctx, actor.userId) };
}

/**
 * Starts to set up an authenticator; it counts after `confirmTwoFactor`.
 * @throws AppError `session_required`, `wrong_password`, `two_factor_on`
 */
export async function startTwoFactor(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<Enrollment> {
  const headers = headersOf(ctx, actor, client);
  if ((await factorsOf(ctx.db, actor.userId)).app)
    throw mismatch("two_factor_on", "An authenticator app is set up. Remove it before you set up another one.");
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
  // With a passkey there is no new session: it had its second factor.
  const renewed = tokenIn(ctx, cookies);
  await changeFactors(ctx, actor.userId, renewed ?? ownSession(ctx, actor, client), async (tx) => {
    if (renewed) await startSession(tx, ctx, renewed);
    await audit(tx, ctx, actor, "two_factor.enable", actor.userId);
  });
  announceSecurity(ctx, actor, "two_factor.added", client);
  return { codes: await replaceCodes(ctx, actor.userId), cookies };
}

/** Replaces the recovery codes. @throws AppError `session_required`, `wrong_password`, `two_factor_off` */
export async function newRecoveryCodes(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<string[]> {
  ownSession(ctx, actor, client);
  if (!(await twoFactorState(ctx, actor)).enabled) throw notEnabled();
  await provePassword(ctx, actor, password, client);
  const codes = await replaceCodes(ctx, actor.userId);
  await ctx.write((tx) => audit(tx, ctx, actor, "two_factor.new_codes", actor.userId));
  announceSecurity(ctx, actor, "two_factor.new_codes", client);
  return codes;
}

/**
 * Removes the authenticator app. Without a passkey, two-factor authentication is then off.
 * @throws AppError `session_required`, `wrong_password`, `two_factor_off`, `two_factor_required`
 */
export async function disableTwoFactor(ctx: Ctx, actor: Actor, client: Client, password: string): Promise<void> {
  const session = ownSession(ctx, actor, client);
  if (!(await factorsOf(ctx.db, actor.userId)).app)
    throw mismatch("two_factor_off", "There is no authenticator app to remove.");
  await provePassword(ctx, actor, password, client);
  await changeFactors(ctx, actor.userId, session, async (tx) => {
    await dropApp(tx, ctx, actor.userId);
    await audit(tx, ctx, actor, "two_factor.disable", actor.userId);
  });
  announceSecurity(ctx, actor, "two_factor.removed", client);
}

/**
 * Removes the second factors of a user who lost them, passkeys too, and ends their sessions. Administrators only.
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
    await dropAllFactors(tx, userId);
    await endSessions(tx, userId);
    await audit(tx, ctx, actor, "two_factor.reset", userId);
    return found.org ?? "";
  });
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId });
  announceSecurity(ctx, { userId, org }, "two_factor.reset", actor.source);
}
