/** The second step of signing in: after the password, a code of the authenticator app, a recovery code or a passkey. */
import { and, eq, gt } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { member, user, verification } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { cookieName, readCookie, writeCookie } from "../../lib/cookies.ts";
import { randomChars } from "../../lib/ids.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { betterAuthOf, isHttps, stepCookie } from "../auth/better.ts";
import { readCode, useCode, wrongCode } from "../auth/codes.ts";
import { deviceCookie, knownDevice } from "../auth/devices.ts";
import { announceSecurity } from "../auth/events.ts";
import { hashCode } from "../auth/recovery-codes.ts";
import { openSession, signedText, signText } from "../auth/sessions.ts";
import { type Client, isRefusal, signedIn } from "../auth/sign-in.ts";
import { attempt } from "../auth/throttle.ts";
import { checkPasskey } from "./passkey-check.ts";
import type { PasskeyAnswer } from "./passkey-model.ts";

const STEP_S = 600;

/** Somebody who gave the password, or signed in at an identity provider. */
interface Pending {
  id: string;
  org: string;
  email: string;
  banned: boolean;
}

/** Where better-auth counts the codes that were tried. */
const attemptsOf = (identifier: string) => `2fa-attempts-${identifier}`;

const expired = () =>
  new AppError("unauthenticated", "sign_in_expired", "The sign-in took too long or was tried too often. Start again.");

/** The signed id of the sign-in that is under way in this browser; null when none is. */
function stepId(ctx: Ctx, cookies: string | null): string | null {
  const cookie = readCookie(cookies, cookieName(stepCookie(ctx), isHttps(ctx)));
  return cookie && signedText(ctx, cookie);
}

/** The person whose password was given in this browser within the last ten minutes; null when nobody's was. */
export async function pendingSignIn(ctx: Ctx, cookies: string | null): Promise<Pending | null> {
  const identifier = stepId(ctx, cookies);
  if (!identifier) return null;
  const [row] = await ctx.db
    .select({ id: user.id, email: user.email, banned: user.banned, org: member.organizationId })
    .from(verification)
    .innerJoin(user, eq(user.id, verification.value))
    .leftJoin(member, eq(member.userId, user.id))
    .where(and(eq(verification.identifier, identifier), gt(verification.expiresAt, new Date())))
    .limit(1);
  return row && !row.banned ? { ...row, org: row.org ?? "" } : null;
}

/**
 * Asks for the second factor of somebody who signed in at an identity provider: what better-auth does after a password.
 * @returns `Set-Cookie` values for the browser
 */
export async function beginSecondStep(ctx: Ctx, userId: string): Promise<string[]> {
  const identifier = `2fa-${randomChars(20)}`;
  const now = new Date();
  const stamps = { createdAt: now, updatedAt: now, expiresAt: new Date(now.getTime() + STEP_S * 1000) };
  await ctx.write((tx) =>
    tx.insert(verification).values([
      { id: randomChars(32), identifier, value: userId, ...stamps },
      { id: randomChars(32), identifier: attemptsOf(identifier), value: "0", ...stamps },
    ]),
  );
  return [writeCookie(stepCookie(ctx), signText(ctx, identifier), { secure: isHttps(ctx), maxAgeS: STEP_S })];
}

/**
 * Completes a sign-in with a passkey. It ends the step: of parallel requests, one goes on.
 * @param origin of the request
 * @returns `Set-Cookie` values for the browser
 * @throws AppError `sign_in_expired` and the refusals of `checkPasskey`
 */
export async function finishWithPasskey(
  ctx: Ctx,
  answer: PasskeyAnswer,
  client: Client,
  origin: string,
): Promise<string[]> {
  const pending = await pendingSignIn(ctx, client.cookies);
  const identifier = stepId(ctx, client.cookies);
  if (!pending || !identifier) throw expired();
  await checkPasskey(ctx, { purpose: "second_step", userId: pending.id, origin }, answer, client);
  const [ended] = await ctx.write(async (tx) => {
    await tx.delete(verification).where(eq(verification.identifier, attemptsOf(identifier)));
    return tx.delete(verification).where(eq(verification.identifier, identifier)).returning();
  });
  if (!ended) throw expired();
  const device = knownDevice(ctx, client.cookies, pending.id);
  const cookies = await openSession(ctx, pending.id, client, { method: null, twoFactors: true });
  await signedIn(ctx, pending, client, { device, cookies, how: { second_factor: "passkey" } });
  const done = writeCookie(stepCookie(ctx), "", { secure: isHttps(ctx), maxAgeS: 0 });
  return [...cookies, deviceCookie(ctx, pending.id, device), done];
}

/**
 * Completes a sign-in.
 * @param text six digits, or a recovery code
 * @returns `Set-Cookie` values for the browser
 * @throws AppError `wrong_code`, `sign_in_expired`, `too_many_attempts`
 */
export async function finishSignIn(ctx: Ctx, text: string, client: Client): Promise<string[]> {
  const pending = await pendingSignIn(ctx, client.cookies);
  if (!pending) throw expired();
  const account = { userId: pending.id, org: pending.org };
  const refusal = { account, target: pending.id, source: client };
  const device = knownDevice(ctx, client.cookies, pending.id);
  const who = { account: `code ${pending.id}`, address: client.address, device };
  const tries = await attempt(ctx, who).catch(async (error) => {
    await noteRefusal(ctx, { ...refusal, action: "session.lock", reason: "too_many_attempts" });
    throw error;
  });
  const auth = await betterAuthOf(ctx);
  const step = cookieName(stepCookie(ctx), isHttps(ctx));
  const headers = new Headers({
    cookie: `${step}=${readCookie(client.cookies, step)}`,
    "user-agent": client.userAgent.slice(0, 200),
    "x-forwarded-for": client.address,
  });
  const code = readCode(text);
  try {
    if (code) await useCode(ctx, pending.id, code);
    const answer = code
      ? await auth.api.verifyTOTP({ body: { code }, headers, returnHeaders: true })
      : await auth.api.verifyBackupCode({
          body: { code: await hashCode(pending.id, text.trim()) },
          headers,
          returnHeaders: true,
        });
    await tries.success();
    const cookies = answer.headers.getSetCookie();
    await signedIn(ctx, pending, client, { device, cookies });
    if (!code) announceSecurity(ctx, account, "two_factor.code_used", client);
    return [...cookies, deviceCookie(ctx, pending.id, device)];
  } catch (error) {
    if (!isRefusal(error) && !(error instanceof AppError)) throw error;
    await noteRefusal(ctx, { ...refusal, action: "session.fail", reason: "second_factor" });
    if (tries.last) announceSecurity(ctx, account, "account.locked", client);
    // better-auth ends the sign-in after five wrong codes.
    throw (await pendingSignIn(ctx, client.cookies)) ? wrongCode() : expired();
  }
}
