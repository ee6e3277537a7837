/** Signing in with a password through better-auth: throttled, recorded, and reported when the browser is new. */
import { and, desc, eq, not, sql } from "drizzle-orm";
import { type Actor, type Ctx, memberActor, type Source } from "../../ctx.ts";
import { auditLog } from "../../db/schema/audit.ts";
import { account as credential, member, session, user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { cookieName } from "../../lib/cookies.ts";
import { networkOf } from "../../lib/net/network.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { audit } from "../audit/service.ts";
import { enforcedProvider, providerOfEmail, ssoRequired } from "../domains/service.ts";
import { suspendedError } from "../holds/service.ts";
import { betterAuthOf, isHttps, stepCookie } from "./better.ts";
import { deviceCookie, knownDevice } from "./devices.ts";
import { announceSecurity } from "./events.ts";
import { addressOf } from "./model.ts";
import { verifyNothing, verifyPassword } from "./passwords.ts";
import { isProved, openSessions, startSession, tokenIn } from "./sessions.ts";
import { attempt } from "./throttle.ts";

const REMEMBERED_SIGN_INS = 200;

/** The browser that signs in. */
export interface Client extends Source {
  /** Its Cookie header. */
  cookies: string | null;
}

interface Account {
  id: string;
  org: string;
  email: string;
  banned: boolean;
}

/** The same message for an unknown address and a wrong password. */
const wrong = () =>
  new AppError("unauthenticated", "wrong_credentials", "The e-mail address or the password is wrong.", {
    param: "password",
  });

async function find(ctx: Ctx, email: string): Promise<Account | null> {
  const [row] = await ctx.db
    .select({ id: user.id, email: user.email, banned: user.banned, org: member.organizationId })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(user.email, email))
    .limit(1);
  return row ? { ...row, org: row.org ?? "" } : null;
}

/** better-auth's refusals have a status below 500; anything else is an internal error. */
export function isRefusal(error: unknown): boolean {
  const status = (error as { statusCode?: unknown }).statusCode;
  return typeof status === "number" && status < 500;
}

/** The first step of signing in. `pending`: the password was right, and the second factor is still asked for. */
interface SignIn {
  pending: boolean;
  /** `Set-Cookie` values for the browser. */
  cookies: string[];
}

/**
 * Signs a person in, or asks for the second factor where there is one.
 * @throws AppError `wrong_credentials`, `account_suspended`, `sso_required`, `too_many_attempts`, `too_many_sign_ins`
 */
export async function signIn(ctx: Ctx, input: { email: string; password: string; client: Client }): Promise<SignIn> {
  const { password, client } = input;
  const email = input.email.trim().toLowerCase();
  const found = await find(ctx, email);
  const device = found && knownDevice(ctx, client.cookies, found.id);
  const refusal = {
    account: found && { userId: found.id, org: found.org },
    target: found?.id ?? "none",
    source: client,
    detail: addressOf(email) ? { email } : {},
  };
  const tries = await attempt(ctx, { account: email, address: client.address, device }).catch(async (error) => {
    await noteRefusal(ctx, { ...refusal, action: "session.lock", reason: "too_many_attempts" });
    throw error;
  });
  const own = await providerOfEmail(ctx, email);
  if (own?.enforced && (await enforcedProvider(ctx, email))) {
    await verifyNothing(ctx, password);
    throw ssoRequired(email, own);
  }
  const fail = async (reason: "unknown" | "password") => {
    await noteRefusal(ctx, { ...refusal, action: "session.fail", reason });
    if (tries.last && refusal.account) announceSecurity(ctx, refusal.account, "account.locked", client);
    // Nobody learns which address of an enforced domain keeps a password.
    return own?.enforced ? ssoRequired(email, own) : wrong();
  };
  try {
    if (!found) {
      await verifyNothing(ctx, password);
      throw await fail("unknown");
    }
    if (found.banned) {
      // Only who knows the password learns that the account is suspended.
      if (!(await hasThisPassword(ctx, found.id, password))) throw await fail("password");
      await tries.success();
      await noteRefusal(ctx, { ...refusal, action: "session.fail", reason: "suspended" });
      throw await suspendedError(ctx, found.id);
    }
    const auth = await betterAuthOf(ctx);
    const answer = await auth.api
      .signInEmail({
        body: { email, password, rememberMe: true },
        headers: new Headers({ "user-agent": client.userAgent.slice(0, 200), "x-forwarded-for": client.address }),
        returnHeaders: true,
      })
      .catch(async (error: unknown) => {
        throw error instanceof AppError || !isRefusal(error) ? error : await fail("password");
      });
    await tries.success();
    const cookies = answer.headers.getSetCookie();
    if ("twoFactorRedirect" in answer.response) {
      const step = `${cookieName(stepCookie(ctx), isHttps(ctx))}=`;
      return { pending: true, cookies: cookies.filter((each) => each.startsWith(step)) };
    }
    await signedIn(ctx, found, client, { device, cookies });
    return { pending: false, cookies: [...cookies, deviceCookie(ctx, found.id, device)] };
  } catch (error) {
    // The server's own overload is no guess.
    if (error instanceof AppError && error.code === "too_many_sign_ins") await tries.undo();
    throw error;
  }
}

/** The hash of an account's password; null for those of single sign-on, which have none. */
async function hashOf(ctx: Ctx, userId: string): Promise<string | null> {
  const [row] = await ctx.db
    .select({ hash: credential.password })
    .from(credential)
    .where(and(eq(credential.userId, userId), eq(credential.providerId, "credential")))
    .limit(1);
  return row?.hash || null;
}

/** Whether an account has a password; those of single sign-on have none. */
export const hasPassword = async (ctx: Ctx, userId: string): Promise<boolean> => (await hashOf(ctx, userId)) !== null;

/** Compares a password; without one the answer takes as long. */
async function hasThisPassword(ctx: Ctx, userId: string, password: string): Promise<boolean> {
  const hash = await hashOf(ctx, userId);
  if (hash) return verifyPassword(ctx, password, hash);
  await verifyNothing(ctx, password);
  return false;
}

/**
 * Checks the password of a person who is signed in, with the limits of signing in. An account without a password needs
 * a recent sign-in instead.
 * @throws AppError `wrong_password`, `reauthentication_required`, `too_many_attempts`, `too_many_sign_ins`
 */
export async function provePassword(ctx: Ctx, actor: Actor, password: string, client: Client): Promise<void> {
  if (!(await hasPassword(ctx, actor.userId))) {
    if (isProved(ctx, actor)) return;
    throw new AppError(
      "forbidden",
      "reauthentication_required",
      "Your account has no password, and the last sign-in was more than 15 minutes ago. Sign out and in again, then repeat this.",
    );
  }
  const device = knownDevice(ctx, client.cookies, actor.userId);
  const tries = await attempt(ctx, { account: actor.email ?? actor.userId, address: client.address, device });
  try {
    if (await hasThisPassword(ctx, actor.userId, password)) return await tries.success();
  } catch (error) {
    await tries.undo();
    throw error;
  }
  const account = { userId: actor.userId, org: actor.org };
  await noteRefusal(ctx, { action: "session.fail", account, target: actor.userId, source: client, reason: "password" });
  throw new AppError("forbidden", "wrong_password", "The password is wrong.", { param: "current" });
}

/** Whether one of the account's last sign-ins came from the network of `address`. */
async function hasSignedInFrom(ctx: Ctx, account: Account, address: string): Promise<boolean> {
  const rows = await ctx.db
    .select({ detail: auditLog.detail })
    .from(auditLog)
    .where(and(eq(auditLog.org, account.org), eq(auditLog.actor, account.id), eq(auditLog.action, "session.create")))
    .orderBy(desc(auditLog.seq))
    .limit(REMEMBERED_SIGN_INS);
  return rows.some(({ detail }) => networkOf(String(detail.address)) === networkOf(address));
}

/** Records a sign-in, and reports it to the owner when the browser or its network is new to the account. */
export async function signedIn(
  ctx: Ctx,
  account: Account,
  client: Client,
  { device, cookies, how = {} }: { device: string | null; cookies: string[]; how?: Record<string, unknown> },
): Promise<void> {
  const token = tokenIn(ctx, cookies);
  const actor = memberActor({ userId: account.id, org: account.org, email: account.email });
  const isNewNetwork = device !== null && !(await hasSignedInFrom(ctx, account, client.address));
  await ctx.write(async (tx) => {
    await tx.update(user).set({ lastSeenAt: ctx.clock.now() }).where(eq(user.id, account.id));
    if (token) await startSession(tx, ctx, token);
    // Ended sessions are of no use any more.
    await tx.delete(session).where(and(eq(session.userId, account.id), not(openSessions(ctx) ?? sql`true`)));
    await audit(tx, ctx, actor, "session.create", account.id, {
      address: client.address,
      user_agent: client.userAgent.slice(0, 200),
      ...how,
    });
  });
  if (!device) announceSecurity(ctx, actor, "sign_in.new_device", client);
  else if (isNewNetwork) announceSecurity(ctx, actor, "sign_in.new_network", client);
}
