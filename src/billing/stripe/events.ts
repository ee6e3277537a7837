/** Events of Stripe: verified, stored once, answered at once, and carried out in the background. */
import { and, asc, eq, lte, notInArray } from "drizzle-orm";
import Stripe from "stripe";
import * as v from "valibot";
import type { Ctx } from "../../ctx.ts";
import { stripeEvent } from "../../db/schema/billing.ts";
import { AppError } from "../../errors.ts";
import { cursorOf, moveCursor } from "../collect/cursors.ts";
import { askStripe, idOf, STRIPE_API_VERSION, stripeMode } from "./client.ts";
import { HANDLED_EVENTS } from "./connection.ts";
import { applyEvent } from "./effects.ts";

const TOLERANCE_S = 300;
const RETRY_MS = 15_000;
const MAX_TRIES = 12;
const HOUR_MS = 3_600_000;
const KEPT_BY_STRIPE_MS = 30 * 24 * HOUR_MS;
/** The time up to which the list of events was read. */
const CURSOR = "stripe_events";

export type EventRow = typeof stripeEvent.$inferSelect;

export const WebhookAnswer = v.strictObject({ received: v.literal(true) });

/** What is read again: the customer of a payment method, otherwise the object itself. */
function objectOf({ type, data }: Stripe.Event): string | null {
  const object = data.object as { id?: string; customer?: string | { id: string } | null };
  if (!type.startsWith("payment_method.")) return object.id ?? null;
  const before = data.previous_attributes as { customer?: string } | undefined;
  return idOf(object.customer) ?? before?.customer ?? null;
}

/** Stores an event unless it is known. @returns whether it is new and waits */
async function storeEvent(ctx: Ctx, event: Stripe.Event): Promise<boolean> {
  const objectId = objectOf(event);
  const isHandled = HANDLED_EVENTS.some((type) => type === event.type);
  const isOurs = event.livemode === (stripeMode(ctx) === "live") && objectId !== null;
  const state = isHandled && isOurs ? "waiting" : "ignored";
  const stored = await ctx.write((tx) =>
    tx
      .insert(stripeEvent)
      .values({
        id: event.id,
        type: event.type,
        objectId: objectId ?? "",
        state,
        createdAt: event.created * 1000,
        receivedAt: ctx.clock.now(),
      })
      .onConflictDoNothing()
      .returning({ id: stripeEvent.id }),
  );
  return stored.length > 0 && state === "waiting";
}

const refused = (why: string) =>
  new AppError("invalid", "invalid_signature", `The event was refused: ${why} It must be signed by Stripe.`, {
    param: "stripe-signature",
  });

/**
 * Takes an event that was posted.
 * @param payload the body, byte by byte as it arrived
 * @throws AppError `stripe_not_set`, `invalid_signature`
 */
export async function receiveEvent(ctx: Ctx, payload: Uint8Array, signature: string | null): Promise<boolean> {
  const secret = ctx.config.stripe_webhook_secret;
  if (!secret || !stripeMode(ctx))
    throw new AppError("conflict", "stripe_not_set", "This installation has no key or no signing secret of Stripe.");
  if (!signature) throw refused("the header stripe-signature is missing.");
  const { webhooks } = new Stripe("sk_test_unused");
  let event: Stripe.Event;
  try {
    const now = ctx.clock.now();
    event = await webhooks.constructEventAsync(payload, signature, secret, TOLERANCE_S, undefined, now);
  } catch (cause) {
    if (cause instanceof Stripe.errors.StripeSignatureVerificationError)
      throw refused("its signature does not fit, or is too old.");
    throw refused("its body is not an event.");
  }
  if (typeof event?.id !== "string" || typeof event.type !== "string" || !event.data?.object)
    throw refused("its body is not an event.");
  if (event.api_version !== STRIPE_API_VERSION)
    ctx.log("warn", "the webhook endpoint at Stripe uses another API version", { version: event.api_version });
  return storeEvent(ctx, event);
}

/**
 * Stores what was missed: everything that Stripe recorded since its list was last read, whatever arrived meanwhile.
 * @returns how many are new
 */
export async function fillGaps(ctx: Ctx): Promise<number> {
  const now = ctx.clock.now();
  const readTo = (await cursorOf(ctx.db, CURSOR)) ?? 0;
  const since = Math.max(now - KEPT_BY_STRIPE_MS, readTo - HOUR_MS);
  const created = { gte: Math.floor(since / 1000) };
  const events = await askStripe(ctx, async (client) => {
    const found: Stripe.Event[] = [];
    for await (const event of client.events.list({ created, types: [...HANDLED_EVENTS], limit: 100 }))
      found.push(event);
    return found;
  });
  let added = 0;
  for (const event of events.reverse()) if (await storeEvent(ctx, event)) added++;
  await ctx.write((tx) => moveCursor(tx, CURSOR, now));
  return added;
}

/** The oldest event that waits. */
export async function nextEvent(ctx: Ctx, running: string[]): Promise<EventRow | null> {
  const due = and(eq(stripeEvent.state, "waiting"), lte(stripeEvent.notBefore, ctx.clock.now()));
  const [row] = await ctx.db
    .select()
    .from(stripeEvent)
    .where(and(due, notInArray(stripeEvent.id, running)))
    .orderBy(asc(stripeEvent.notBefore), asc(stripeEvent.createdAt))
    .limit(1);
  return row ?? null;
}

/** Carries out an event and stores the end; what fails is tried again, later each time. */
export async function handleEvent(ctx: Ctx, row: EventRow): Promise<void> {
  const change = (set: Partial<EventRow>) =>
    ctx.write((tx) => tx.update(stripeEvent).set(set).where(eq(stripeEvent.id, row.id)));
  try {
    const isOurs = await applyEvent(ctx, row.type, row.objectId);
    ctx.failPoint("stripe.event");
    await change({ state: isOurs ? "done" : "ignored", handledAt: ctx.clock.now(), error: null });
  } catch (cause) {
    if (ctx.signal.aborted) return;
    const tries = row.tries + 1;
    const state = tries < MAX_TRIES ? "waiting" : "failed";
    ctx.log(state === "failed" ? "error" : "warn", "an event of Stripe could not be carried out", {
      id: row.id,
      cause,
    });
    const error = cause instanceof AppError ? cause.message : "See the server log.";
    await change({ state, tries, error, notBefore: ctx.clock.now() + RETRY_MS * 2 ** tries });
  }
}
