/**
 * Proof that the owner of an account still sits at the browser: sensitive actions ask for the password, a code or a
 * passkey again when the last one is older than 15 minutes. API keys are not asked.
 */
import { eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { session } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { cookieName, readCookie } from "../../lib/cookies.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { audit } from "../audit/service.ts";
import { betterAuthOf, isHttps, sessionCookie } from "../auth/better.ts";
import { readCode, useCode, wrongCode } from "../auth/codes.ts";
import { forgetSessions, PROOF_MS, signedText } from "../auth/sessions.ts";
import { type Client, isRefusal, provePassword } from "../auth/sign-in.ts";
import { attempt } from "../auth/throttle.ts";
import { factorsOf } from "./factors.ts";
import { checkPasskey } from "./passkey-check.ts";
import type { PasskeyAnswer } from "./passkey-model.ts";

/** Checks a code of the authenticator app of a person who is signed in. */
async function proveCode(ctx: Ctx, actor: Actor, code: string, client: Client): Promise<void> {
  const tries = await attempt(ctx, { account: `code ${actor.userId}`, address: client.address });
  const name = cookieName(sessionCookie(ctx), isHttps(ctx));
  try {
    // A code would confirm an app that is being set up.
    if (!(await factorsOf(ctx.db, actor.userId)).app) throw wrongCode();
    await useCode(ctx, actor.userId, code);
    const auth = await betterAuthOf(ctx);
    const headers = new Headers({ cookie: `${name}=${readCookie(client.cookies, name)}` });
    await auth.api.verifyTOTP({ body: { code }, headers });
    await tries.success();
  } catch (error) {
    if (!isRefusal(error) && !(error instanceof AppError)) throw error;
    const account = { userId: actor.userId, org: actor.org };
    const reason = "second_factor";
    await noteRefusal(ctx, { action: "session.fail", account, target: actor.userId, source: client, reason });
    throw wrongCode();
  }
}

function requireSession(actor: Actor): void {
  if (actor.via === "session") return;
  throw new AppError(
    "forbidden",
    "session_required",
    "Only a browser session needs this proof. API keys are not asked.",
  );
}

/**
 * Takes a passkey instead.
 * @param origin of the request
 * @throws AppError `session_required` and the refusals of `checkPasskey`
 */
export async function proveWithPasskey(
  ctx: Ctx,
  actor: Actor,
  answer: PasskeyAnswer,
  client: Client,
  origin: string,
): Promise<number> {
  requireSession(actor);
  await checkPasskey(ctx, { purpose: "prove", userId: actor.userId, origin }, answer, client);
  return noteProof(ctx, actor, client, "passkey");
}

/**
 * Takes the password or a code, and remembers the proof for 15 minutes.
 * @param text the password, or six digits of the authenticator app
 * @returns until when it counts, in milliseconds since 1970
 * @throws AppError `session_required`, `wrong_password`, `wrong_code`, `too_many_attempts`
 */
export async function prove(ctx: Ctx, actor: Actor, text: string, client: Client): Promise<number> {
  requireSession(actor);
  const code = readCode(text);
  // A password has more than six digits.
  await (code ? proveCode(ctx, actor, code, client) : provePassword(ctx, actor, text, client));
  return noteProof(ctx, actor, client, code ? "code" : "password");
}

/**
 * Remembers for 15 minutes that the person of a session proved their identity.
 * @returns until when it counts, in milliseconds since 1970
 */
export async function noteProof(ctx: Ctx, actor: Actor, client: Client, by: string): Promise<number> {
  const token = signedText(ctx, readCookie(client.cookies, cookieName(sessionCookie(ctx), isHttps(ctx))) ?? "");
  const now = ctx.clock.now();
  await ctx.write(async (tx) => {
    if (token) await tx.update(session).set({ provedAt: now }).where(eq(session.token, token));
    await audit(tx, ctx, actor, "session.prove", actor.userId, { by });
  });
  forgetSessions(ctx);
  return now + PROOF_MS;
}
