/** Erases accounts and organizations when their grace period is over. A restart continues what it interrupted. */
import { and, eq } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { forgetSessions } from "../accounts/auth/sessions.ts";
import { forgetKeys } from "../accounts/keys/cache.ts";
import { ownersOf } from "../accounts/suspension/service.ts";
import { type Ctx, systemActor } from "../ctx.ts";
import { organization, user } from "../db/schema/auth.ts";
import { hold } from "../db/schema/holds.ts";
import { noticeDelivery } from "../db/schema/notices.ts";
import { startRounds } from "../lib/background/rounds.ts";
import { addMail } from "../notices/delivery/outbox.ts";
import { mailServer } from "../notices/mail/settings.ts";
import { ERASED, KEPT } from "./kept.ts";
import { type DeletionRow, ERASER } from "./model.ts";
import { countOrganization, eraseOrganization } from "./organization.ts";
import { deleteRows } from "./rows.ts";
import { dueDeletions } from "./schedule.ts";
import { eraseUser } from "./user.ts";

const EVERY_MS = 30_000;
/** The last mail is given this long: with the account its address is erased too. */
const MAIL_MS = 3_600_000;
const TYPE = "erasure";

/** Whom the last mail goes to, and the name of what is deleted. */
async function readersOf(ctx: Ctx, { subject, subjectId }: DeletionRow): Promise<{ to: string[]; name: string }> {
  const ids = subject === "user" ? [subjectId] : await ownersOf(ctx.db, subjectId);
  const to: string[] = [];
  for (const id of ids) {
    const [row] = await ctx.db.select({ email: user.email }).from(user).where(eq(user.id, id)).limit(1);
    if (row) to.push(row.email);
  }
  if (subject === "user") return { to, name: `account ${to[0] ?? ""}` };
  const [org] = await ctx.db
    .select({ name: organization.name })
    .from(organization)
    .where(eq(organization.id, subjectId))
    .limit(1);
  return { to, name: `team ${org?.name ?? ""}` };
}

/** Sends the last mail while the addresses are still known. @returns whether it was sent, or waited for long enough */
async function sayGoodbye(ctx: Ctx, row: DeletionRow): Promise<boolean> {
  if ((await mailServer(ctx)) === null) return true;
  const { to, name } = await readersOf(ctx, row);
  const letter = {
    title: `Your ${name} is deleted`,
    body: [
      `Erased: ${ERASED[row.subject].join("; ")}.`,
      ...KEPT.map(({ what, why }) => `Kept: ${what} (${why}).`),
      `The report of this deletion has the number ${row.id}.`,
    ].join("\n"),
    path: "/login",
    action: "Open the sign-in page",
    reason: "You get this because the grace period of the deletion is over.",
  };
  await ctx.write(async (tx) => {
    for (const address of to) await addMail(tx, ctx, { org: "", type: TYPE, eventId: row.id, to: address, letter });
  });
  ctx.bus.emit("notice.stored", { org: "" });
  const waiting = await ctx.db
    .select({ id: noticeDelivery.id })
    .from(noticeDelivery)
    .where(and(eq(noticeDelivery.eventId, row.id), eq(noticeDelivery.state, "waiting")))
    .limit(1);
  return waiting.length === 0 || ctx.clock.now() > (row.until ?? 0) + MAIL_MS;
}

/** Carries out one deletion. @returns whether it is complete; else it is continued later */
async function carryOut(ctx: Ctx, row: DeletionRow): Promise<boolean> {
  const { subject, subjectId } = row;
  if (row.erased === null) {
    if (!(await sayGoodbye(ctx, row))) return false;
    const counted = subject === "organization" ? await countOrganization(ctx, subjectId) : { accounts: 1 };
    await ctx.write((tx) => tx.update(hold).set({ erased: counted }).where(eq(hold.id, row.id)));
  }
  if (subject === "user") await eraseUser(ctx, subjectId);
  else if (!(await eraseOrganization(ctx, subjectId))) return false;
  await deleteRows(ctx, "notice_delivery", eq(noticeDelivery.eventId, row.id));
  await ctx.write(async (tx) => {
    await tx.update(hold).set({ endedAt: ctx.clock.now(), endedBy: ERASER }).where(eq(hold.id, row.id));
    await audit(tx, ctx, systemActor(), `${subject}.erase`, subjectId, { deletion: row.id });
  });
  await ctx.emptyLog();
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("hold.changed", { subject, id: subjectId });
  return true;
}

/** Carries out every deletion whose day has come. One that fails does not stop the others. */
export async function eraseDue(ctx: Ctx): Promise<void> {
  for (const row of await dueDeletions(ctx))
    await carryOut(ctx, row).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "a deletion is not complete; it continues", { id: row.id, cause });
    });
}

/** Looks now and twice a minute. @returns the function that stops it and waits for the erasure in progress */
export const startErasure = (ctx: Ctx): (() => Promise<void>) =>
  startRounds(ctx, EVERY_MS, "deletions could not be carried out", () => eraseDue(ctx));
