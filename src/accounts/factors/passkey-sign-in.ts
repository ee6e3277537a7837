/** Signing in with a passkey alone: it is something the person has, unlocked by who they are or what they know. */
import type { Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { deviceCookie, knownDevice } from "../auth/devices.ts";
import { openSession } from "../auth/sessions.ts";
import { type Client, hasPassword, signedIn } from "../auth/sign-in.ts";
import { enforcedProvider, providerOfEmail, ssoRequired } from "../domains/service.ts";
import { suspendedError } from "../holds/service.ts";
import { checkPasskey, type PasskeyOwner } from "./passkey-check.ts";
import type { PasskeyAnswer } from "./passkey-model.ts";

/** Why an account may not sign in with a passkey alone; null when it may. It may wherever a password may. */
async function problemOf(ctx: Ctx, owner: PasskeyOwner): Promise<AppError | null> {
  if (owner.banned) return suspendedError(ctx, owner.id);
  const enforced = await enforcedProvider(ctx, owner.email);
  if (enforced) return ssoRequired(owner.email, enforced);
  if (await hasPassword(ctx, owner.id)) return null;
  const provider = await providerOfEmail(ctx, owner.email);
  if (provider) return ssoRequired(owner.email, provider);
  return new AppError(
    "forbidden",
    "sso_required",
    "This account signs in with single sign-on. Its passkey is a second factor there, and does not sign in alone.",
  );
}

/**
 * Signs a person in with a passkey alone.
 * @param origin of the request
 * @returns `Set-Cookie` values for the browser
 * @throws AppError `account_suspended`, `sso_required` and the refusals of `checkPasskey`
 */
export async function signInWithPasskey(
  ctx: Ctx,
  answer: PasskeyAnswer,
  client: Client,
  origin: string,
): Promise<string[]> {
  const owner = await checkPasskey(ctx, { purpose: "sign_in", userId: null, origin }, answer, client);
  const problem = await problemOf(ctx, owner);
  if (problem) {
    const account = { userId: owner.id, org: owner.org };
    const reason = owner.banned ? "suspended" : problem.code;
    await noteRefusal(ctx, { action: "session.fail", account, target: owner.id, source: client, reason });
    throw problem;
  }
  const device = knownDevice(ctx, client.cookies, owner.id);
  const cookies = await openSession(ctx, owner.id, client, { method: "passkey", twoFactors: true });
  await signedIn(ctx, owner, client, { device, cookies, how: { method: "passkey" } });
  return [...cookies, deviceCookie(ctx, owner.id, device)];
}
