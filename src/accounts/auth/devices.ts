/**
 * Browsers that have signed in to an account before, known by a signed cookie: a new one is reported to the owner, and
 * strangers cannot lock a known one out.
 */
import { timingSafeEqual } from "node:crypto";
import type { Ctx } from "../../ctx.ts";
import { cookieName, readCookie, writeCookie } from "../../lib/cookies.ts";
import { randomChars } from "../../lib/ids.ts";
import { isHttps } from "./better.ts";

const DEVICE_S = 365 * 86_400;

const nameOf = (ctx: Ctx) => `ftl-device-${ctx.installation.slice(0, 6)}`;

const signatureOf = (ctx: Ctx, userId: string, device: string) =>
  new Bun.CryptoHasher("sha256", ctx.secret).update(`device ${userId} ${device}`).digest("base64url");

/**
 * The id of a browser that has signed in to this account before; null for others.
 * @param cookies the Cookie header of the request
 */
export function knownDevice(ctx: Ctx, cookies: string | null, userId: string): string | null {
  const [device = "", signature = ""] = (readCookie(cookies, cookieName(nameOf(ctx), isHttps(ctx))) ?? "").split(".");
  const expected = Buffer.from(signatureOf(ctx, userId, device));
  const given = Buffer.from(signature);
  return device && given.length === expected.length && timingSafeEqual(given, expected) ? device : null;
}

/** The `Set-Cookie` value by which this browser is known to the account for a year. */
export function deviceCookie(ctx: Ctx, userId: string, device: string | null): string {
  const id = device ?? randomChars(20);
  const value = `${id}.${signatureOf(ctx, userId, id)}`;
  return writeCookie(nameOf(ctx), value, { secure: isHttps(ctx), maxAgeS: DEVICE_S });
}
