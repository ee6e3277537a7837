/** Invitations by mail: the link goes to the invited address through the outbox, and to nobody else. */
import { and, desc, eq, gt, inArray } from "drizzle-orm";
import { requireOtherDomain } from "../../accounts/domains/service.ts";
import {
  createInvitation,
  type InvitationInput,
  type StoredInvitation,
  type WithInvitation,
} from "../../accounts/organizations/invitations.ts";
import { type Invitation, pendingInvitationView } from "../../accounts/organizations/model.ts";
import { renewInvitation, revokeInvitation } from "../../accounts/organizations/pending.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { invitation, user } from "../../db/schema/auth.ts";
import { noticeDelivery } from "../../db/schema/notices.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { ROLE_HINTS, ROLE_NAMES } from "../../roles.ts";
import { addMail } from "../delivery/outbox.ts";
import { mailServer } from "../mail/settings.ts";
import { type Letter, siteAddress } from "../mail/template.ts";

const TYPE = "account.invitation";
const HOUR_MS = 3_600_000;
/** Invitations for one address, and into one team, within an hour: beyond these, nothing is mailed. */
const MAX_TO_ADDRESS = 3;
const MAX_FROM_TEAM = 100;

/** What became of the mail of an invitation. */
export interface InvitationMail {
  state: "waiting" | "sent" | "dead";
  /** When it was written, in milliseconds since 1970. */
  at: number;
  error: string | null;
}

/** Whether invitations can be mailed. */
export const canMail = async (ctx: Ctx): Promise<boolean> => (await mailServer(ctx)) !== null;

/** A name that reads like an address would be a link of whoever chose it, in a mail from here. */
const plain = (name: string, otherwise: string) =>
  /:\/\/|www\.|@|\.[a-z]{2,}(\W|$)/i.test(name) ? otherwise : name.slice(0, 80);

const dayOf = (at: number) => `${new Date(at).toISOString().slice(0, 16).replace("T", " ")} UTC`;

/** The letter of an invitation. */
function letterOf(ctx: Ctx, made: StoredInvitation, token: string, inviter: { name: string; email: string }): Letter {
  const team = plain(made.orgName, made.org);
  const name = plain(inviter.name, "");
  const who = name && name !== inviter.email ? `${name} (${inviter.email})` : inviter.email;
  const role = `${ROLE_NAMES[made.teamRole]}: ${ROLE_HINTS[made.teamRole]}`;
  const body = [
    `${who} invites you to the team ${team} at ${siteAddress(ctx)}.`,
    made.role === "admin"
      ? "Your role: administrator of the installation, and owner of the team."
      : `Your role: ${role}.`,
    `The link is for ${made.email} only. It works once, until ${dayOf(made.expiresAt)}.`,
    "If you do not know the sender, ignore this mail: without the link nobody gets an account with your address.",
  ];
  return {
    title: `Invitation to ${team}`,
    body: body.join("\n"),
    path: `/invite?token=${token}`,
    action: "Accept the invitation",
    reason: "You get this because somebody invited your address.",
  };
}

/** Refuses a mail when the stored invitations of the last hour, with this one, are too many. */
async function requireRoom(tx: Db, ctx: Ctx, { email, org }: Invitation): Promise<void> {
  const since = ctx.clock.now() - HOUR_MS;
  for (const [where, most, what] of [
    [eq(invitation.email, email), MAX_TO_ADDRESS, `for ${email}`],
    [eq(invitation.organizationId, org), MAX_FROM_TEAM, "into this team"],
  ] as const) {
    const rows = await tx
      .select({ at: invitation.createdAt })
      .from(invitation)
      .where(and(where, gt(invitation.createdAt, new Date(since))))
      .orderBy(desc(invitation.createdAt))
      .limit(most + 1);
    const oldest = rows.at(-1);
    if (rows.length <= most || !oldest) continue;
    const seconds = Math.ceil((oldest.at.getTime() - since) / 1000);
    throw new AppError(
      "rate_limited",
      "too_many_invitation_mails",
      `There were ${most} invitations ${what} within an hour. Try again in ${Math.ceil(seconds / 60)} minutes, or create a link and send it yourself.`,
      { retryAfterS: seconds },
    );
  }
}

/** Mails that were not sent yet and whose link no longer works. */
const dropWaiting = (tx: Db, { email, org }: Pick<Invitation, "email" | "org">) =>
  tx
    .delete(noticeDelivery)
    .where(
      and(
        eq(noticeDelivery.type, TYPE),
        eq(noticeDelivery.destination, `mail:${email}`),
        eq(noticeDelivery.org, org),
        eq(noticeDelivery.state, "waiting"),
      ),
    );

async function requireServer(ctx: Ctx): Promise<void> {
  if (await canMail(ctx)) return;
  throw new AppError(
    "conflict",
    "no_mail_server",
    "There is no mail server, so nothing can be mailed. Create a link and send it yourself.",
  );
}

/** What happens in the transaction of an invitation: a killed server has both or neither. */
async function alongside(ctx: Ctx, actor: Actor, byMail: boolean): Promise<WithInvitation> {
  if (!byMail)
    return async (tx, made) => {
      await dropWaiting(tx, made);
      return {};
    };
  await requireServer(ctx);
  const [found] = await ctx.db
    .select({ name: user.name, email: user.email })
    .from(user)
    .where(eq(user.id, actor.userId))
    .limit(1);
  const inviter = found ?? { name: "", email: "An administrator" };
  return async (tx, made, token) => {
    await requireRoom(tx, ctx, made);
    await dropWaiting(tx, made);
    const letter = letterOf(ctx, made, token, inviter);
    await addMail(tx, ctx, { org: made.org, type: TYPE, eventId: made.id, to: made.email, letter });
    return { mailed: true };
  };
}

/** An invitation, and the token of its link; null when it was mailed. */
interface Invited {
  invitation: Invitation;
  token: string | null;
}

function sent(ctx: Ctx, made: { invitation: Invitation; token: string }, byMail: boolean): Invited {
  if (byMail) ctx.bus.emit("notice.stored", { org: made.invitation.org });
  return { ...made, token: byMail ? null : made.token };
}

/**
 * Invites a person with a link to pass on, or by mail.
 * @throws AppError `no_mail_server`, `too_many_invitation_mails`, `sso_required` and those of `createInvitation`
 */
export async function invite(ctx: Ctx, actor: Actor, input: InvitationInput, byMail: boolean): Promise<Invited> {
  if (byMail) await requireOtherDomain(ctx, input.email);
  return sent(ctx, await createInvitation(ctx, actor, input, await alongside(ctx, actor, byMail)), byMail);
}

/**
 * Replaces a pending invitation by one with a new link and a new week, to pass on or by mail.
 * @throws AppError `no_mail_server`, `too_many_invitation_mails`, `invitation_not_found`
 */
export async function inviteAgain(ctx: Ctx, actor: Actor, id: string, byMail: boolean): Promise<Invited> {
  return sent(ctx, await renewInvitation(ctx, actor, id, await alongside(ctx, actor, byMail)), byMail);
}

/** Revokes an invitation: its link stops working, and a mail that waits is not sent. */
export const revokeAndRecall = (ctx: Ctx, actor: Actor, id: string): Promise<void> =>
  revokeInvitation(ctx, actor, id, async (tx, row) => {
    await dropWaiting(tx, row);
  });

/** What became of the mails of invitations, by id of the invitation; those without a mail are absent. */
export async function mailsOf(ctx: Ctx, invitations: Invitation[]): Promise<Map<string, InvitationMail>> {
  const ids = invitations.map(({ id }) => id);
  if (ids.length === 0) return new Map();
  const rows = await ctx.db
    .select()
    .from(noticeDelivery)
    .where(and(eq(noticeDelivery.type, TYPE), inArray(noticeDelivery.eventId, ids)))
    .limit(ids.length);
  return new Map(rows.map((row) => [row.eventId, { state: row.state, at: row.createdAt, error: row.lastError }]));
}

/** Pending invitations as clients see them. */
export async function withMails(ctx: Ctx, invitations: Invitation[]) {
  const mails = await mailsOf(ctx, invitations);
  return invitations.map((each) => pendingInvitationView(each, mails.get(each.id)?.state ?? null));
}
