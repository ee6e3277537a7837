/** A new e-mail address: its owner confirms it with a link in a mail, and the previous address is notified. */
import { and, eq, like, ne } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { Email } from "../../accounts/auth/model.ts";
import { forgetSessions } from "../../accounts/auth/sessions.ts";
import { provePassword } from "../../accounts/auth/sign-in.ts";
import { requireOtherDomain } from "../../accounts/domains/service.ts";
import { forgetKeys } from "../../accounts/keys/cache.ts";
import { type Actor, type Ctx, memberActor } from "../../ctx.ts";
import { member, user, verification } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { newSecret, randomChars, sha256Hex } from "../../lib/ids.ts";
import { addMail } from "../delivery/outbox.ts";
import { mailServer } from "../mail/settings.ts";

const PREFIX = "email-change:";
const VALID_MS = 24 * 3_600_000;

const Stored = v.strictObject({ userId: v.string(), email: v.string() });
type Stored = v.InferOutput<typeof Stored>;

const invalid = () =>
  new AppError(
    "gone",
    "email_link_invalid",
    "This link was already used, has expired, or was replaced by a newer one. Enter the new address again under Settings.",
  );

const taken = (email: string) =>
  new AppError("conflict", "email_taken", `There is already an account for ${email}.`, { param: "email" });

async function isTaken(db: Db, email: string, userId: string): Promise<boolean> {
  const [row] = await db
    .select({ id: user.id })
    .from(user)
    .where(and(eq(user.email, email), ne(user.id, userId)))
    .limit(1);
  return row !== undefined;
}

/**
 * Mails a link to the new address; the account keeps the present one until it is used. A newer request replaces it.
 * @throws AppError `wrong_password`, `too_many_attempts`, `email_taken`, `no_mail_server`, `invalid_value`,
 *   `sso_required`
 */
export async function requestEmailChange(
  ctx: Ctx,
  actor: Actor,
  given: { email: string; password: string },
  client: Parameters<typeof provePassword>[3],
): Promise<string> {
  const parsed = v.safeParse(Email, given.email);
  if (!parsed.success)
    throw new AppError("unprocessable", "invalid_value", "The new address must be an e-mail address.", {
      param: "email",
    });
  const email = parsed.output;
  if (!(await mailServer(ctx)))
    throw new AppError(
      "conflict",
      "no_mail_server",
      "A new address needs a mail with a link, and there is no mail server.",
    );
  for (const each of [actor.email ?? "", email]) await requireOtherDomain(ctx, each);
  await provePassword(ctx, actor, given.password, client);
  if (email === actor.email)
    throw new AppError("conflict", "email_same", "This is the address of your account already.", { param: "email" });
  if (await isTaken(ctx.db, email, actor.userId)) throw taken(email);
  const token = newSecret("");
  const now = ctx.clock.now();
  const value = JSON.stringify({ userId: actor.userId, email } satisfies Stored);
  const letter = {
    title: "Confirm your new e-mail address",
    body: `${actor.email ?? "A user"} wants to sign in as ${email} from now on.\nThe link works once within a day. If this is not your account, ignore this mail: nothing changes.`,
    path: `/confirm-email?token=${token}`,
    action: "Confirm the new address",
    reason: "You get this because somebody entered your address in the settings of an account.",
  };
  await ctx.write(async (tx) => {
    const mine = like(verification.value, `%"${actor.userId}"%`);
    await tx.delete(verification).where(and(like(verification.identifier, `${PREFIX}%`), mine));
    const stamps = { createdAt: new Date(now), updatedAt: new Date(now), expiresAt: new Date(now + VALID_MS) };
    await tx
      .insert(verification)
      .values({ id: randomChars(32), identifier: PREFIX + sha256Hex(token), value, ...stamps });
    await addMail(tx, ctx, { org: actor.org, type: "account.email_change", eventId: null, to: email, letter });
    await audit(tx, ctx, actor, "user.email_link", actor.userId, { email });
  });
  ctx.bus.emit("notice.stored", { org: actor.org });
  return email;
}

interface Change extends Stored {
  previous: string;
  org: string;
}

async function open(ctx: Ctx, db: Db, token: string): Promise<Change> {
  const [row] = await db
    .select()
    .from(verification)
    .where(eq(verification.identifier, PREFIX + sha256Hex(token)))
    .limit(1);
  if (!row || row.expiresAt.getTime() <= ctx.clock.now()) throw invalid();
  const stored = v.parse(Stored, JSON.parse(row.value));
  const [owner] = await db
    .select({ email: user.email, banned: user.banned, org: member.organizationId })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(eq(user.id, stored.userId))
    .limit(1);
  if (!owner || owner.banned) throw invalid();
  return { ...stored, previous: owner.email, org: owner.org ?? "" };
}

/** The change that a link stands for. @throws AppError `email_link_invalid` (410) */
export function findEmailChange(ctx: Ctx, token: string): Promise<Change> {
  return open(ctx, ctx.db, token);
}

/**
 * Changes the address of the link's account, uses the link up, and notifies the previous address.
 * @throws AppError `email_link_invalid`, `email_taken`
 */
export async function completeEmailChange(ctx: Ctx, token: string): Promise<Change> {
  const change = await ctx.write(async (tx) => {
    const found = await open(ctx, tx, token);
    const { userId, email, org, previous } = found;
    await tx.delete(verification).where(eq(verification.identifier, PREFIX + sha256Hex(token)));
    if (await isTaken(tx, email, userId)) throw taken(email);
    await tx
      .update(user)
      .set({ email, emailVerified: true, updatedAt: new Date(ctx.clock.now()) })
      .where(eq(user.id, userId));
    const actor = memberActor({ userId, org, email });
    await audit(tx, ctx, actor, "user.email", userId, { email, previous });
    return found;
  });
  forgetSessions(ctx);
  forgetKeys(ctx);
  const { userId, org, previous } = change;
  ctx.bus.emit("security.event", {
    org,
    userId,
    kind: "email.changed",
    ip: null,
    userAgent: null,
    at: ctx.clock.now(),
    previousEmail: previous,
  });
  return change;
}
