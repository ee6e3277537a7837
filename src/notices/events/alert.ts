/** The signed link of a security notice: it names one event, expires, and works once. */
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import type { Ctx } from "../../ctx.ts";

const VALID_MS = 7 * 86_400_000;

function markOf(ctx: Ctx, eventId: string, until: number): Buffer {
  const key = Buffer.from(hkdfSync("sha256", ctx.secret, "", "notice alert", 32));
  return createHmac("sha256", key).update(`${eventId}.${until}`).digest();
}

/** The token of an event, valid for a week from `at` (milliseconds since 1970). */
export function alertToken(ctx: Ctx, eventId: string, at: number): string {
  const until = at + VALID_MS;
  return `${eventId}.${until}.${markOf(ctx, eventId, until).toString("base64url")}`;
}

/** The event of a token; null when it is forged or has expired. */
export function readAlertToken(ctx: Ctx, token: string): string | null {
  const [eventId = "", until = "", mark = ""] = token.split(".");
  if (!/^\d{1,15}$/.test(until) || Number(until) <= ctx.clock.now()) return null;
  const expected = markOf(ctx, eventId, Number(until));
  const given = Buffer.from(mark, "base64url");
  return given.length === expected.length && timingSafeEqual(given, expected) ? eventId : null;
}
