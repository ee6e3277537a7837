/**
 * Links to reset a forgotten password: an administrator creates one and passes it on, and it works once within a day.
 */
import { and, eq, like } from "drizzle-orm";
import { type Actor, type Ctx, memberActor, requireAdmin } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { member, user, verification } from "../../db/schema/auth.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newSecret, randomChars, sha256Hex } from "../../lib/ids.ts";
import { audit } from "../audit/service.ts";
import { requirePasswordAllowed } from "../domains/service.ts";
import { checkNewPassword, setPassword } from "./service.ts";

const RESET_MS = 24 * 3_600_000;
const PREFIX = "password-reset:";

/** The account of a valid link. */
interface Reset {
  userId: string;
  email: string;
  org: string;
}

const invalid = () =>
  new AppError(
    "gone",
    "reset_link_invalid",
    "This link was already used, has expired, or was replaced by a newer one. Ask an administrator for a new one.",
  );

/**
 * Creates a link for a user; it replaces an earlier one. The password stays valid until the link is used.
 * @returns the token of `/reset?token=…`, which is shown only once, and when it expires
 * @throws AppError `user_not_found`, `sso_required`
 */
export async function createReset(
  ctx: Ctx,
  actor: Actor,
  userId: string,
): Promise<{ userId: string; email: string; token: string; expiresAt: number }> {
  requireAdmin(actor);
  const [{ email } = { email: "" }] = await ctx.db.select({ email: user.email }).from(user).where(eq(user.id, userId));
  await requirePasswordAllowed(ctx, email);
  const token = newSecret("");
  const now = ctx.clock.now();
  const expiresAt = now + RESET_MS;
  return ctx.write(async (tx) => {
    const [found] = await tx
      .select()
      .from(user)
      .where(and(eq(user.id, userId), isPerson))
      .limit(1);
    if (!found) throw notFound("user", userId);
    if (found.banned)
      throw new AppError(
        "conflict",
        "user_disabled",
        "This account is suspended. Lift the suspension before you reset its password.",
      );
    await tx
      .delete(verification)
      .where(and(eq(verification.value, userId), like(verification.identifier, `${PREFIX}%`)));
    await tx.insert(verification).values({
      id: randomChars(32),
      identifier: PREFIX + sha256Hex(token),
      value: userId,
      expiresAt: new Date(expiresAt),
      createdAt: new Date(now),
      updatedAt: new Date(now),
    });
    await audit(tx, ctx, actor, "user.password_link", userId);
    return { userId, email: found.email, token, expiresAt };
  });
}

async function open(ctx: Ctx, db: Db, token: string): Promise<Reset> {
  const [row] = await db
    .select({
      userId: user.id,
      email: user.email,
      banned: user.banned,
      org: member.organizationId,
      expiresAt: verification.expiresAt,
    })
    .from(verification)
    .innerJoin(user, eq(user.id, verification.value))
    .innerJoin(member, eq(member.userId, user.id))
    .where(eq(verification.identifier, PREFIX + sha256Hex(token)))
    .limit(1);
  if (!row || row.banned || row.expiresAt.getTime() <= ctx.clock.now()) throw invalid();
  return { userId: row.userId, email: row.email, org: row.org };
}

/** The account of a link. @throws AppError `reset_link_invalid` (410) */
export function findReset(ctx: Ctx, token: string): Promise<Reset> {
  return open(ctx, ctx.db, token);
}

/**
 * Sets the password of the link's account, ends its sessions and uses the link up.
 * @returns the e-mail address of the account
 * @throws AppError `reset_link_invalid`, `weak_password`
 */
export async function completeReset(ctx: Ctx, token: string, password: string): Promise<string> {
  const { userId, email, org } = await findReset(ctx, token);
  await checkNewPassword(ctx, userId, password);
  // The link is used up first: of two requests with one link, only one sets the password.
  await ctx.write(async (tx) => {
    await open(ctx, tx, token);
    await tx.delete(verification).where(eq(verification.identifier, PREFIX + sha256Hex(token)));
  });
  const actor = memberActor({ userId, org, email });
  await setPassword(ctx, actor, userId, password);
  return email;
}
