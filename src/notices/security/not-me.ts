/**
 * "This was not me": the link of a security notice ends every session of the account, revokes the keys created or
 * rotated and removes the second factors added since the event, and makes the password useless until its owner has set
 * a new one.
 */
import { and, eq, gte, isNull, or } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { hashPassword } from "../../accounts/auth/passwords.ts";
import { createReset } from "../../accounts/auth/resets.ts";
import { endSessions, forgetSessions } from "../../accounts/auth/sessions.ts";
import { dropFactorsSince } from "../../accounts/factors/factors.ts";
import { forgetKeys } from "../../accounts/keys/cache.ts";
import { type Ctx, memberActor, systemActor } from "../../ctx.ts";
import { account, apiKey, user } from "../../db/schema/auth.ts";
import { noticeEvent } from "../../db/schema/notices.ts";
import { AppError } from "../../errors.ts";
import { newSecret } from "../../lib/ids.ts";
import { readAlertToken } from "../events/alert.ts";

/** An event is announced after what it reports: the key of a notice about a key is a little older than the notice. */
const GRACE_MS = 60_000;

const invalid = () =>
  new AppError(
    "gone",
    "alert_link_invalid",
    "This link was already used or has expired. Change your password under Settings, or ask an administrator for a link to reset it.",
  );

interface Alert {
  eventId: string;
  userId: string;
  email: string;
  org: string;
  title: string;
  body: string;
  at: number;
}

/** The notice that a link belongs to. @throws AppError `alert_link_invalid` (410) */
export async function findAlert(ctx: Ctx, token: string): Promise<Alert> {
  const eventId = readAlertToken(ctx, token);
  if (!eventId) throw invalid();
  const [row] = await ctx.db
    .select({ event: noticeEvent, email: user.email, banned: user.banned })
    .from(noticeEvent)
    .innerJoin(user, eq(user.id, noticeEvent.userId))
    .where(and(eq(noticeEvent.id, eventId), isNull(noticeEvent.answeredAt)))
    .limit(1);
  if (!row || row.banned) throw invalid();
  const { id, org, title, body, createdAt } = row.event;
  return { eventId: id, userId: row.event.userId ?? "", email: row.email, org, title, body, at: createdAt };
}

/** Whether somebody set up an authenticator app since then. */
async function addedAppSince(ctx: Ctx, userId: string, since: number): Promise<boolean> {
  const [row] = await ctx.db
    .select({ id: noticeEvent.id })
    .from(noticeEvent)
    .innerJoin(user, eq(user.id, noticeEvent.userId))
    .where(
      and(
        eq(noticeEvent.userId, userId),
        eq(noticeEvent.type, "security.two_factor.added"),
        gte(noticeEvent.createdAt, since),
        eq(user.twoFactorEnabled, true),
      ),
    )
    .limit(1);
  return row !== undefined;
}

/**
 * Secures the account of a link, which then no longer works.
 * @returns the token of `/reset?token=…`, where its owner sets a new password
 * @throws AppError `alert_link_invalid`
 */
export async function secureAccount(ctx: Ctx, token: string): Promise<string> {
  const alert = await findAlert(ctx, token);
  const { userId, org, email } = alert;
  // A password that nobody knows.
  const password = await hashPassword(ctx, newSecret(""));
  const actor = memberActor({ userId, org, email });
  const since = alert.at - GRACE_MS;
  const appAdded = await addedAppSince(ctx, userId, since);
  const revoked = await ctx.write(async (tx) => {
    const now = ctx.clock.now();
    const [first] = await tx
      .update(noticeEvent)
      .set({ answeredAt: now })
      .where(and(eq(noticeEvent.id, alert.eventId), isNull(noticeEvent.answeredAt)))
      .returning({ id: noticeEvent.id });
    if (!first) throw invalid();
    const keys = await tx
      .update(apiKey)
      .set({ revokedAt: now })
      .where(
        and(
          eq(apiKey.userId, userId),
          isNull(apiKey.revokedAt),
          or(gte(apiKey.createdAt, since), gte(apiKey.rotatedAt, since)),
        ),
      )
      .returning({ id: apiKey.id, org: apiKey.org });
    await tx
      .update(account)
      .set({ password, updatedAt: new Date(now) })
      .where(and(eq(account.userId, userId), eq(account.providerId, "credential")));
    // Otherwise its owner could not sign in with the new password.
    const passkeys = await dropFactorsSince(tx, ctx, userId, since, appAdded);
    await endSessions(tx, userId);
    const gone = { keys: keys.length, passkeys, authenticator_app: appAdded };
    await audit(tx, ctx, actor, "user.not_me", userId, { event: alert.eventId, ...gone });
    return keys;
  });
  forgetKeys(ctx);
  forgetSessions(ctx);
  for (const key of revoked) ctx.bus.emit("key.revoked", { org: key.org, keyId: key.id });
  ctx.bus.emit("session.ended", { userId });
  return (await createReset(ctx, systemActor(org), userId)).token;
}
