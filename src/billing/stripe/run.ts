/** The background work with Stripe: statements are sent, refunds asked for, events carried out, and gaps filled. */
import { and, asc, eq, lte, notInArray } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { statement } from "../../db/schema/billing.ts";
import { workQueue } from "../../lib/background/work-queue.ts";
import { billingSettings } from "../settings/service.ts";
import { stripeMode } from "./client.ts";
import { type EventRow, fillGaps, handleEvent, nextEvent } from "./events.ts";
import { type EventToSend, nextEventToSend, sendMeterEvent, takeOver } from "./meter-events.ts";
import { nextRefund, type RefundRow, sendRefund } from "./refunds.ts";
import { type StatementRow, sendStatement } from "./send.ts";

const EVERY_MS = 10_000;
const GAPS_EVERY_MS = 600_000;

async function nextStatement(ctx: Ctx, running: string[]): Promise<StatementRow | null> {
  const due = and(
    eq(statement.state, "closing"),
    eq(statement.mode, "stripe"),
    lte(statement.notBefore, ctx.clock.now()),
  );
  const [row] = await ctx.db
    .select()
    .from(statement)
    .where(and(due, notInArray(statement.id, running)))
    .orderBy(asc(statement.notBefore), asc(statement.id))
    .limit(1);
  return row ?? null;
}

const queuesOf = perContext((ctx) => [
  workQueue<StatementRow>(ctx, {
    what: "statements to send to Stripe",
    atOnce: 2,
    next: (running) => nextStatement(ctx, running),
    run: (row) => sendStatement(ctx, row),
  }),
  workQueue<RefundRow>(ctx, {
    what: "refunds to ask Stripe for",
    atOnce: 1,
    next: (running) => nextRefund(ctx, running),
    run: (row) => sendRefund(ctx, row),
  }),
  workQueue<EventToSend>(ctx, {
    what: "uses to send to the meters of Stripe",
    atOnce: 4,
    next: (running) => nextEventToSend(ctx, running),
    run: (row) => sendMeterEvent(ctx, row),
  }),
  // One at a time: events of one invoice follow each other.
  workQueue<EventRow>(ctx, {
    what: "events of Stripe",
    atOnce: 1,
    next: (running) => nextEvent(ctx, running),
    run: (row) => handleEvent(ctx, row),
  }),
]);

/** Starts what waits. Does nothing without a key. */
export function kickStripe(ctx: Ctx): void {
  if (stripeMode(ctx)) for (const queue of queuesOf(ctx)) queue.kick();
}

/** Continues after a restart, and looks every few seconds. @returns the function that stops it */
export function startStripe(ctx: Ctx): () => void {
  const fill = async () => {
    if (!stripeMode(ctx) || (await billingSettings(ctx)).mode !== "stripe") return;
    if ((await fillGaps(ctx)) > 0) kickStripe(ctx);
  };
  const fillNow = () =>
    void fill().catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("warn", "missed events of Stripe could not be read", { cause });
    });
  const look = () =>
    void takeOver(ctx)
      .catch((cause) => {
        if (!ctx.signal.aborted) ctx.log("error", "uses could not be taken over for the meters of Stripe", { cause });
      })
      .finally(() => kickStripe(ctx));
  look();
  fillNow();
  const timers = [setInterval(look, EVERY_MS), setInterval(fillNow, GAPS_EVERY_MS)];
  return () => {
    for (const timer of timers) clearInterval(timer);
  };
}
