/**
 * Turns stored events into deliveries and notices: one transaction for each event, which also marks it, so that a
 * killed server neither forgets nor repeats one.
 */
import { and, asc, eq, isNull, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { user } from "../../db/schema/auth.ts";
import { notice, noticeDelivery, noticeEvent, webhookEndpoint } from "../../db/schema/notices.ts";
import type { Db } from "../../db/types.ts";
import { newId } from "../../lib/ids.ts";
import { reachesAll, topicOf } from "../events/types.ts";
import { letterOf } from "../mail/letters.ts";
import { wantedBy } from "../preferences/service.ts";
import { bodyOf, type EventRow } from "../webhooks/payload.ts";
import { addMail } from "./outbox.ts";

const AT_ONCE = 100;
const ALL = { page: true, mail: true };

/** Events without deliveries, oldest first. */
export function waitingEvents(ctx: Ctx): Promise<EventRow[]> {
  return ctx.db
    .select()
    .from(noticeEvent)
    .where(isNull(noticeEvent.spreadAt))
    .orderBy(asc(noticeEvent.createdAt), asc(noticeEvent.id))
    .limit(AT_ONCE);
}

async function toEndpoints(tx: Db, ctx: Ctx, event: EventRow): Promise<void> {
  const endpoints = await tx
    .select()
    .from(webhookEndpoint)
    .where(
      and(
        eq(webhookEndpoint.org, event.org),
        sql`exists (select 1 from json_each(${webhookEndpoint.eventTypes}) wanted where wanted.value = ${event.type})`,
      ),
    );
  const now = ctx.clock.now();
  for (const endpoint of endpoints)
    await tx
      .insert(noticeDelivery)
      .values({
        id: newId("delivery"),
        org: event.org,
        eventId: event.id,
        type: event.type,
        channel: "webhook",
        destination: endpoint.id,
        summary: event.title,
        payload: bodyOf(ctx, endpoint.format, event),
        state: "waiting",
        nextAt: now,
        createdAt: now,
      })
      .onConflictDoNothing();
}

async function toUser(tx: Db, ctx: Ctx, event: EventRow, canMail: boolean): Promise<void> {
  if (!event.userId) return;
  const [found] = await tx
    .select()
    .from(user)
    .where(and(eq(user.id, event.userId), isPerson))
    .limit(1);
  if (!found) return;
  const wanted = reachesAll(event.type) ? ALL : await wantedBy(tx, found.id, topicOf(event.type));
  const { org, type, title, body, path } = event;
  if (canMail && wanted.mail) {
    const mail = { org, type, eventId: event.id, letter: letterOf(ctx, event) };
    await addMail(tx, ctx, { ...mail, to: found.email });
    if (event.alsoTo) await addMail(tx, ctx, { ...mail, to: event.alsoTo });
  }
  if (!wanted.page) return;
  const row = { id: newId("notice"), org, userId: found.id, eventId: event.id, type, title, body, path };
  await tx
    .insert(notice)
    .values({ ...row, createdAt: event.createdAt })
    .onConflictDoNothing();
}

/**
 * Stores what an event leads to, once.
 * @param canMail there is a mail server
 */
export function spread(ctx: Ctx, event: EventRow, canMail: boolean): Promise<void> {
  return ctx.write(async (tx) => {
    const [mine] = await tx
      .update(noticeEvent)
      .set({ spreadAt: ctx.clock.now() })
      .where(and(eq(noticeEvent.id, event.id), isNull(noticeEvent.spreadAt)))
      .returning({ id: noticeEvent.id });
    if (!mine) return;
    await toEndpoints(tx, ctx, event);
    await toUser(tx, ctx, event, canMail);
  });
}
