/**
 * Sends what the outbox holds, in the background. The tables are the queue: after a restart it continues where it was.
 * One message at a time goes to each destination, so that a slow one delays no other.
 */
import { eq } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { webhookEndpoint } from "../../db/schema/notices.ts";
import { nextAnnouncement, sendAnnouncements } from "../announcements/send.ts";
import { announceTerms } from "../announcements/terms.ts";
import { sendMail } from "../mail/send.ts";
import { mailServer } from "../mail/settings.ts";
import { announceMaintenance } from "../maintenance/send.ts";
import type { DeliveryRow } from "../webhooks/model.ts";
import { postWebhook } from "../webhooks/post.ts";
import { type Attempt, deleteOld, dueDeliveries, mailIn, nextDue, recordAttempt } from "./outbox.ts";
import { spread, waitingEvents } from "./spread.ts";

const AT_ONCE = 8;
/** The longest time between two looks: an event whose announcement was lost waits no longer. */
const LOOK_MS = 30_000;
/** The wait after a failure of the database. */
const RETRY_MS = 2_000;
const EXPIRY_MS = 3_600_000;
/** A receiver that answers 410 wants nothing any more. */
const GONE = 410;

interface Loop {
  /** Destinations that a message is being sent to. */
  busy: Set<string>;
  wake: (() => void) | null;
  woken: boolean;
}
const loopOf = perContext((): Loop => ({ busy: new Set(), wake: null, woken: false }));

function wake(ctx: Ctx): void {
  const loop = loopOf(ctx);
  loop.woken = true;
  loop.wake?.();
}

async function attemptMail(ctx: Ctx, row: DeliveryRow): Promise<Attempt> {
  const server = await mailServer(ctx);
  if (!server) return { status: null, error: "There is no mail server any more.", final: false };
  const { to, mail } = mailIn(ctx, row);
  const { error, final } = await sendMail(ctx, server, to, row.id, mail);
  return { status: null, error, final };
}

async function attemptWebhook(ctx: Ctx, row: DeliveryRow): Promise<Attempt> {
  const [endpoint] = await ctx.db.select().from(webhookEndpoint).where(eq(webhookEndpoint.id, row.destination));
  if (!endpoint) return { status: null, error: "The endpoint was deleted.", final: true };
  const { status, error } = await postWebhook(ctx, endpoint, row.id, row.payload);
  return { status, error, final: status === GONE };
}

async function send(ctx: Ctx, row: DeliveryRow): Promise<void> {
  const attempt = await (row.channel === "mail" ? attemptMail(ctx, row) : attemptWebhook(ctx, row));
  // The server is stopping: the attempt was cut off, and the next start repeats it.
  if (attempt.error !== null && ctx.signal.aborted) return;
  ctx.failPoint("notice.sent");
  await recordAttempt(ctx, row, attempt);
  ctx.bus.emit("delivery.changed", { org: row.org, deliveryId: row.id });
  if (attempt.error !== null)
    ctx.log("warn", "a notice was not delivered", {
      delivery: row.id,
      attempts: row.attempts + 1,
      error: attempt.error,
    });
}

function start(ctx: Ctx, row: DeliveryRow): void {
  const loop = loopOf(ctx);
  loop.busy.add(row.destination);
  void send(ctx, row)
    .catch(async (cause) => {
      if (ctx.signal.aborted) return;
      ctx.log("error", "a delivery could not be recorded", { delivery: row.id, cause });
      await ctx.clock.sleep(RETRY_MS, ctx.signal);
    })
    .finally(() => {
      loop.busy.delete(row.destination);
      wake(ctx);
    });
}

async function spreadAll(ctx: Ctx): Promise<void> {
  for (let events = await waitingEvents(ctx); events.length > 0; events = await waitingEvents(ctx)) {
    ctx.failPoint("notice.stored");
    const canMail = (await mailServer(ctx)) !== null;
    for (const event of events) await spread(ctx, event, canMail);
  }
}

/** Does what is due. @returns milliseconds until the next look */
async function pass(ctx: Ctx): Promise<number> {
  const { busy } = loopOf(ctx);
  await announceTerms(ctx);
  await sendAnnouncements(ctx);
  await announceMaintenance(ctx);
  await spreadAll(ctx);
  for (const row of await dueDeliveries(ctx, [...busy], AT_ONCE * 4)) {
    if (busy.size >= AT_ONCE) break;
    if (!busy.has(row.destination)) start(ctx, row);
  }
  // A full house continues when one of its messages is sent.
  const next = busy.size >= AT_ONCE ? null : await nextDue(ctx, [...busy]);
  const starts = await nextAnnouncement(ctx);
  const first = Math.min(next ?? Number.POSITIVE_INFINITY, starts ?? Number.POSITIVE_INFINITY);
  return Math.max(0, Math.min(LOOK_MS, first - ctx.clock.now()));
}

async function run(ctx: Ctx, stop: AbortSignal): Promise<void> {
  const loop = loopOf(ctx);
  while (!stop.aborted) {
    loop.woken = false;
    let ms = RETRY_MS;
    try {
      ms = await pass(ctx);
    } catch (cause) {
      if (!stop.aborted) ctx.log("error", "notices could not be sent; they wait", { cause });
    }
    if (loop.woken || stop.aborted) continue;
    const waiting = new AbortController();
    loop.wake = () => waiting.abort();
    await ctx.clock.sleep(ms, AbortSignal.any([waiting.signal, stop]));
    loop.wake = null;
  }
}

/** Starts sending. @returns a function that stops it; what was not sent waits in the table */
export function startNotices(ctx: Ctx): () => void {
  const stop = new AbortController();
  const offs = [
    ctx.bus.on("notice.stored", () => wake(ctx)),
    ctx.bus.on("terms.changed", () => wake(ctx)),
    ctx.bus.on("announcement.changed", () => wake(ctx)),
    ctx.bus.on("maintenance.changed", () => wake(ctx)),
  ];
  void run(ctx, AbortSignal.any([stop.signal, ctx.signal]));
  const expire = () =>
    deleteOld(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", "old notices not deleted", { cause });
    });
  void expire();
  const timer = setInterval(() => void expire(), EXPIRY_MS);
  return () => {
    clearInterval(timer);
    for (const off of offs) off();
    stop.abort();
  };
}
