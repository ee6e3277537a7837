/**
 * Challenges of passkeys: kept sealed by the page that asks, bound to its browser and to what it asks for, valid for
 * five minutes and accepted once.
 */
import { lte } from "drizzle-orm";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { usedCode } from "../../db/schema/sign-in.ts";
import { AppError } from "../../errors.ts";
import { cookieName, readCookie, writeCookie } from "../../lib/cookies.ts";
import { newSecret, sha256Hex } from "../../lib/ids.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { isHttps, sessionCookie, stepCookie } from "../auth/better.ts";

const LIFE_MS = 5 * 60_000;
const BROWSER_S = 3600;

/** What a passkey is asked for. */
export type PasskeyPurpose = "enroll" | "sign_in" | "second_step" | "prove";

const State = v.strictObject({
  challenge: v.string(),
  /** Hash of the cookie that the browser must have. */
  browser: v.string(),
  /** Whose passkey is asked for; null for a sign-in, where the passkey says it. */
  user: v.nullable(v.string()),
  until: v.number(),
});

/** The cookie of a browser that is not signed in. */
const browserCookie = (ctx: Ctx) => `ftl-passkey-${ctx.installation.slice(0, 6)}`;

const placeOf = (purpose: PasskeyPurpose) => ({ kind: "passkey_challenge", row: purpose });

function cookieOf(ctx: Ctx, purpose: PasskeyPurpose): string {
  if (purpose === "sign_in") return browserCookie(ctx);
  return purpose === "second_step" ? stepCookie(ctx) : sessionCookie(ctx);
}

const boundTo = (ctx: Ctx, purpose: PasskeyPurpose, cookies: string | null) =>
  readCookie(cookies, cookieName(cookieOf(ctx, purpose), isHttps(ctx)));

const expired = () =>
  new AppError(
    "conflict",
    "passkey_expired",
    "This request for a passkey was started in another browser, is older than 5 minutes, or was used already. Try again.",
  );

/** A new challenge, what the page sends back with the answer, and `Set-Cookie` values. */
interface NewChallenge {
  challenge: string;
  state: string;
  cookies: string[];
}

/** @throws AppError `passkey_expired` for a second step or a session that the browser does not have */
export function newChallenge(
  ctx: Ctx,
  purpose: PasskeyPurpose,
  user: string | null,
  cookies: string | null,
): NewChallenge {
  const found = boundTo(ctx, purpose, cookies);
  const value = found ?? (purpose === "sign_in" ? newSecret("") : null);
  if (!value) throw expired();
  const challenge = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
  const until = ctx.clock.now() + LIFE_MS;
  const state = seal(
    ctx.secret,
    placeOf(purpose),
    JSON.stringify({ challenge, browser: sha256Hex(value), user, until } satisfies v.InferOutput<typeof State>),
  );
  const cookie = writeCookie(browserCookie(ctx), value, { secure: isHttps(ctx), maxAgeS: BROWSER_S });
  return { challenge, state, cookies: purpose === "sign_in" ? [cookie] : [] };
}

/** Of parallel requests with one challenge, only one goes on. */
async function useUp(ctx: Ctx, challenge: string, until: number): Promise<void> {
  const key = new Bun.CryptoHasher("sha256", ctx.secret).update(`challenge ${challenge}`).digest("base64url");
  const [first] = await ctx.write(async (tx) => {
    await tx.delete(usedCode).where(lte(usedCode.until, ctx.clock.now()));
    return tx.insert(usedCode).values({ key, until }).onConflictDoNothing().returning();
  });
  if (!first) throw expired();
}

/**
 * Takes a challenge; it counts as used whatever comes of the answer.
 * @param sealed what `newChallenge` gave the page
 * @throws AppError `passkey_expired`
 */
export async function takeChallenge(
  ctx: Ctx,
  sealed: string,
  { purpose, user, cookies }: { purpose: PasskeyPurpose; user: string | null; cookies: string | null },
): Promise<string> {
  let text: string;
  try {
    text = unseal(ctx.secret, placeOf(purpose), sealed);
  } catch {
    throw expired();
  }
  const state = v.parse(State, JSON.parse(text));
  const value = boundTo(ctx, purpose, cookies);
  if (!value || sha256Hex(value) !== state.browser || state.user !== user || state.until <= ctx.clock.now())
    throw expired();
  await useUp(ctx, state.challenge, state.until);
  return state.challenge;
}
