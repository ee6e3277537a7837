/** Rows of the outbox: add a mail, find what is due, record an attempt, send again, delete what is old. */
import { and, asc, desc, eq, lt, lte, ne, notInArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { olderThan } from "../../db/paging.ts";
import { notice, noticeDelivery, noticeEvent } from "../../db/schema/notices.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { newId } from "../../lib/ids.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { type Letter, type Mail, mailOf } from "../mail/template.ts";
import type { DeliveryRow } from "../webhooks/model.ts";
import { getEndpoint } from "../webhooks/service.ts";

/** The wait after the first failure; each further one is three times as long, up to the cap. */
const FIRST_WAIT_MS = 10_000;
const MAX_WAIT_MS = 12 * 3_600_000;
/** Attempts over about three days. */
export const MAX_ATTEMPTS = 15;

/** Milliseconds until the next attempt. */
export const waitAfter = (attempts: number) => Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 3 ** (attempts - 1));

/** What a delivery of a mail holds. */
interface StoredMail {
  to: string;
  mail: Mail;
}

/** The mail of a delivery. */
export function mailIn(ctx: Ctx, row: DeliveryRow): StoredMail {
  return JSON.parse(unseal(ctx.secret, sealedIn("mail", row.id), row.payload)) as StoredMail;
}

/**
 * Adds a mail in the caller's transaction, unless the event already has one to this address. It is stored encrypted,
 * because its links act for its reader.
 * @param eventId null for a mail that has no event
 */
export async function addMail(
  tx: Db,
  ctx: Ctx,
  given: { org: string; type: string; eventId: string | null; to: string; letter: Letter },
): Promise<void> {
  const id = newId("delivery");
  const { org, type, to, letter } = given;
  const now = ctx.clock.now();
  const mail = mailOf(ctx, letter);
  await tx
    .insert(noticeDelivery)
    .values({
      id,
      org,
      eventId: given.eventId ?? id,
      type,
      channel: "mail",
      destination: `mail:${to}`,
      summary: letter.title,
      payload: seal(ctx.secret, sealedIn("mail", id), JSON.stringify({ to, mail } satisfies StoredMail)),
      state: "waiting",
      nextAt: now,
      createdAt: now,
    })
    .onConflictDoNothing();
}

/** Deliveries whose time has come, the longest waiting first, without those of `busy` destinations. */
export function dueDeliveries(ctx: Ctx, busy: string[], limit: number): Promise<DeliveryRow[]> {
  return ctx.db
    .select()
    .from(noticeDelivery)
    .where(
      and(
        eq(noticeDelivery.state, "waiting"),
        lte(noticeDelivery.nextAt, ctx.clock.now()),
        busy.length > 0 ? notInArray(noticeDelivery.destination, busy) : undefined,
      ),
    )
    .orderBy(asc(noticeDelivery.nextAt))
    .limit(limit);
}

/** When the next delivery is due; null when none waits. */
export async function nextDue(ctx: Ctx, busy: string[]): Promise<number | null> {
  const [row] = await ctx.db
    .select({ at: noticeDelivery.nextAt })
    .from(noticeDelivery)
    .where(
      and(
        eq(noticeDelivery.state, "waiting"),
        busy.length > 0 ? notInArray(noticeDelivery.destination, busy) : undefined,
      ),
    )
    .orderBy(asc(noticeDelivery.nextAt))
    .limit(1);
  return row?.at ?? null;
}

/** What became of an attempt. */
export interface Attempt {
  status: number | null;
  error: string | null;
  /** Another attempt would not help. */
  final: boolean;
}

/** Records an attempt: sent, to be repeated after a longer wait, or dead. */
export async function recordAttempt(ctx: Ctx, row: DeliveryRow, attempt: Attempt): Promise<void> {
  const now = ctx.clock.now();
  const attempts = row.attempts + 1;
  const dead = attempt.error !== null && (attempt.final || attempts >= MAX_ATTEMPTS);
  await ctx.write((tx) =>
    tx
      .update(noticeDelivery)
      .set({
        attempts,
        lastStatus: attempt.status,
        lastError: attempt.error,
        state: attempt.error === null ? "sent" : dead ? "dead" : "waiting",
        nextAt: now + waitAfter(attempts),
        endedAt: attempt.error === null || dead ? now : null,
      })
      .where(and(eq(noticeDelivery.id, row.id), eq(noticeDelivery.state, "waiting"))),
  );
}

/** Deliveries of the whole installation, newest first; at most `limit + 1`. Administrators only. */
export async function listDeliveries(
  ctx: Ctx,
  actor: Actor,
  page: { state: DeliveryRow["state"]; after?: string; limit: number },
): Promise<DeliveryRow[]> {
  requireAdmin(actor);
  const [from] = page.after ? await ctx.db.select().from(noticeDelivery).where(eq(noticeDelivery.id, page.after)) : [];
  if (page.after && !from) throw notFound("delivery", page.after);
  return ctx.db
    .select()
    .from(noticeDelivery)
    .where(and(eq(noticeDelivery.state, page.state), olderThan(noticeDelivery, from)))
    .orderBy(desc(noticeDelivery.createdAt), desc(noticeDelivery.id))
    .limit(page.limit + 1);
}

async function sendAgain(ctx: Ctx, actor: Actor, row: DeliveryRow): Promise<DeliveryRow> {
  const again = await ctx.write(async (tx) => {
    const [changed] = await tx
      .update(noticeDelivery)
      .set({ state: "waiting", attempts: 0, nextAt: ctx.clock.now(), endedAt: null })
      .where(and(eq(noticeDelivery.id, row.id), ne(noticeDelivery.state, "waiting")))
      .returning();
    if (!changed)
      throw new AppError("conflict", "delivery_waiting", "This delivery is still being tried. Wait until it ends.");
    await audit(tx, ctx, actor, "notice.resend", row.id, { destination: row.destination });
    return changed;
  });
  ctx.bus.emit("notice.stored", { org: row.org });
  return again;
}

/** Sends a delivery of any organization again. Administrators only. @throws AppError `delivery_waiting` */
export async function resendDelivery(ctx: Ctx, actor: Actor, id: string): Promise<DeliveryRow> {
  requireAdmin(actor);
  const [row] = await ctx.db.select().from(noticeDelivery).where(eq(noticeDelivery.id, id));
  if (!row) throw notFound("delivery", id);
  return sendAgain(ctx, actor, row);
}

/** Sends a delivery of one endpoint again, with the same `webhook-id`. @throws AppError `delivery_waiting` */
export async function resendWebhook(ctx: Ctx, actor: Actor, endpointId: string, id: string): Promise<DeliveryRow> {
  const { id: destination } = await getEndpoint(ctx, actor, endpointId);
  const [row] = await ctx.db
    .select()
    .from(noticeDelivery)
    .where(and(eq(noticeDelivery.id, id), eq(noticeDelivery.destination, destination)));
  if (!row) throw notFound("delivery", id);
  return sendAgain(ctx, actor, row);
}

/** Deletes events, notices and finished deliveries that are older than the setting says. */
export async function deleteOld(ctx: Ctx): Promise<void> {
  const before = ctx.clock.now() - ctx.config.notice_retention_days * DAY_MS;
  await ctx.write(async (tx) => {
    await tx
      .delete(noticeDelivery)
      .where(and(ne(noticeDelivery.state, "waiting"), lt(noticeDelivery.createdAt, before)));
    await tx.delete(notice).where(lt(notice.createdAt, before));
    await tx.delete(noticeEvent).where(lt(noticeEvent.createdAt, before));
  });
}
