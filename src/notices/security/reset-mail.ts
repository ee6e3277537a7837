/** "Forgot your password?": mails the link that an administrator would otherwise pass on. */
import { and, eq, gt } from "drizzle-orm";
import { createReset } from "../../accounts/auth/resets.ts";
import { attempt } from "../../accounts/auth/throttle.ts";
import { requireOtherDomain } from "../../accounts/domains/service.ts";
import { type Ctx, perContext, type Source, systemActor } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { member, user } from "../../db/schema/auth.ts";
import { noticeDelivery } from "../../db/schema/notices.ts";
import { createInTurn } from "../../lib/in-turn.ts";
import { addMail } from "../delivery/outbox.ts";

const TYPE = "account.password_reset";
/** Mails to one account within an hour; more would only fill its mailbox. */
const MAX_MAILS = 3;
const HOUR_MS = 3_600_000;

/** Requests for one address follow each other, so that each sees the mails of those before it. */
const turnsOf = perContext(() => createInTurn());

async function send(ctx: Ctx, email: string): Promise<void> {
  const [found] = await ctx.db
    .select({ id: user.id, email: user.email, banned: user.banned, org: member.organizationId })
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(and(eq(user.email, email), isPerson))
    .limit(1);
  if (!found || found.banned) return;
  const recent = await ctx.db
    .select({ id: noticeDelivery.id })
    .from(noticeDelivery)
    .where(
      and(
        eq(noticeDelivery.destination, `mail:${found.email}`),
        eq(noticeDelivery.type, TYPE),
        gt(noticeDelivery.createdAt, ctx.clock.now() - HOUR_MS),
      ),
    )
    .limit(MAX_MAILS);
  if (recent.length >= MAX_MAILS) return;
  const org = found.org ?? "";
  const { token } = await createReset(ctx, systemActor(org), found.id);
  const letter = {
    title: "Choose a new password",
    body: `Somebody asked to reset the password of ${found.email}.\nThe link works once within a day. If it was not you, ignore this mail: nothing changes.`,
    path: `/reset?token=${token}`,
    action: "Choose a new password",
    reason: "You get this because somebody entered your address on the sign-in page.",
  };
  await ctx.write((tx) => addMail(tx, ctx, { org, type: TYPE, eventId: null, to: found.email, letter }));
  ctx.bus.emit("notice.stored", { org });
}

/**
 * Mails a link to set a new password, when there is such an account. The answer neither says nor shows by its time
 * whether there is one: the work is done after it.
 * @throws AppError `too_many_attempts`, `sso_required`
 */
export async function requestReset(ctx: Ctx, email: string, client: Source): Promise<void> {
  const address = email.trim().toLowerCase();
  await requireOtherDomain(ctx, address);
  await attempt(ctx, { account: `reset ${address}`, address: client.address });
  const work = turnsOf(ctx)(address, () => send(ctx, address));
  work.catch((cause) => ctx.log("error", "a link to reset a password was not mailed", { cause }));
}
