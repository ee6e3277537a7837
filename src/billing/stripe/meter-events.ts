/**
 * Sends metered uses to the meters of Stripe, for those who want its usage view; invoices do not depend on it. Each
 * interval becomes one event, whose identifier is its number: Stripe refuses an identifier that it knows, for a day.
 */
import { and, asc, eq, gt, lte, min, ne, notInArray, sql } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { meterEvent, meterInterval } from "../../db/schema/billing.ts";
import { AppError } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { cursorOf, moveCursor } from "../collect/cursors.ts";
import { METERS, type MeterName } from "../meters/meters.ts";
import { billingSettings, METER_EVENTS } from "../settings/service.ts";
import { askStripe, stripeMode } from "./client.ts";
import { customerOf } from "./customers.ts";

const PAGE = 500;
const FIRST_RETRY_MS = 15_000;
const LAST_RETRY_MS = 3_600_000;
/** How long Stripe surely knows an identifier, with an hour to spare. */
const KNOWN_MS = DAY_MS - 3_600_000;
/** How old an event may be for Stripe, with an hour to spare. */
const OLDEST_MS = 35 * DAY_MS - 3_600_000;

/** An event that waits, with its interval. */
export interface EventToSend extends Pick<typeof meterEvent.$inferSelect, "n" | "org" | "tries" | "unsureSince"> {
  id: string;
  meter: string;
  /** Milliseconds since 1970. */
  from: number;
  /** Whole charged units; negative when they are taken back. */
  value: number;
}

/** The name of the meter at Stripe, such as `ftl_gpu_seconds`. */
const eventNameOf = (meter: string): string => `ftl_${meter}`;

const wanted = async (ctx: Ctx): Promise<boolean> => {
  const { mode, meter_events: on } = await billingSettings(ctx);
  return on && mode === "stripe" && stripeMode(ctx) !== null;
};

const priced = Object.entries(METERS).flatMap(([meter, of]) => (of.priced ? [meter] : []));

/** Takes over the intervals that were written since the last time. @returns how many there were */
export async function takeOver(ctx: Ctx): Promise<number> {
  if (!(await wanted(ctx))) return 0;
  let taken = 0;
  for (;;) {
    const after = (await cursorOf(ctx.db, METER_EVENTS)) ?? 0;
    const rows = await ctx.db
      .select({ n: meterInterval.n, org: meterInterval.org, meter: meterInterval.meter, value: CHARGED })
      .from(meterInterval)
      .where(gt(meterInterval.n, after))
      .orderBy(asc(meterInterval.n))
      .limit(PAGE);
    const last = rows.at(-1);
    if (!last) return taken;
    const events = rows.filter(({ meter, value }) => priced.includes(meter) && value !== 0);
    await ctx.write(async (tx) => {
      const values = events.map(({ n, org }) => ({ n, org, state: "waiting" as const }));
      if (values.length > 0) await tx.insert(meterEvent).values(values).onConflictDoNothing();
      await moveCursor(tx, METER_EVENTS, last.n);
    });
    taken += events.length;
  }
}

const CHARGED = sql<number>`${meterInterval.quantity} - ${meterInterval.free}`;

/** The oldest event that is due, of a team that exists. */
export async function nextEventToSend(ctx: Ctx, running: string[]): Promise<EventToSend | null> {
  if (!(await wanted(ctx))) return null;
  const due = and(eq(meterEvent.state, "waiting"), lte(meterEvent.notBefore, ctx.clock.now()));
  const [row] = await ctx.db
    .select({
      n: meterEvent.n,
      org: meterEvent.org,
      tries: meterEvent.tries,
      unsureSince: meterEvent.unsureSince,
      meter: meterInterval.meter,
      from: meterInterval.from,
      value: CHARGED,
    })
    .from(meterEvent)
    .innerJoin(meterInterval, eq(meterInterval.n, meterEvent.n))
    .innerJoin(organization, eq(organization.id, meterEvent.org))
    .where(and(due, notInArray(meterEvent.n, running.map(Number))))
    .orderBy(asc(meterEvent.notBefore), asc(meterEvent.n))
    .limit(1);
  return row ? { ...row, id: String(row.n) } : null;
}

/** Names of the meters that are known to exist at Stripe. */
const meters = perContext((): { known: Set<string> | null } => ({ known: null }));

/** Creates the meter of an event at Stripe unless it is there. */
async function ensureMeter(ctx: Ctx, meter: string): Promise<void> {
  const state = meters(ctx);
  const name = eventNameOf(meter);
  if (state.known?.has(name)) return;
  const known = new Set<string>();
  await askStripe(ctx, async (client) => {
    for await (const each of client.billing.meters.list({ status: "active", limit: 100 })) known.add(each.event_name);
    if (known.has(name)) return;
    await client.billing.meters.create(
      {
        display_name: `Fine-Tune Lab: ${METERS[meter as MeterName].unit}s`,
        event_name: name,
        default_aggregation: { formula: "sum" },
        customer_mapping: { type: "by_id", event_payload_key: "stripe_customer_id" },
        value_settings: { event_payload_key: "value" },
      },
      { idempotencyKey: `${ctx.installation}-meter-${name}` },
    );
    known.add(name);
  });
  state.known = known;
}

/** The identifier is known: an earlier try arrived. */
const isKnown = (cause: unknown) => cause instanceof AppError && /already exists with identifier/i.test(cause.message);

async function send(ctx: Ctx, { org, n, meter, from, value }: EventToSend): Promise<void> {
  const customer = await customerOf(ctx, org);
  await askStripe(ctx, (client) =>
    client.billing.meterEvents.create({
      event_name: eventNameOf(meter),
      identifier: `${ctx.installation}-${n}`,
      timestamp: Math.floor(from / 1000),
      payload: { stripe_customer_id: customer, value: String(value) },
    }),
  ).catch((cause) => {
    if (!isKnown(cause)) throw cause;
  });
}

const TOO_OLD = "Stripe takes no use that is older than 35 days.";
const UNSURE = "It is not known whether Stripe counted this use: its answer was lost, and a day is over.";

/** Sends an event and forgets it. What fails is tried again, later each time; what can never be sent stays, failed. */
export async function sendMeterEvent(ctx: Ctx, row: EventToSend): Promise<void> {
  const now = ctx.clock.now();
  const change = async (set: Partial<typeof meterEvent.$inferInsert>): Promise<void> => {
    await ctx.write((tx) => tx.update(meterEvent).set(set).where(eq(meterEvent.n, row.n)));
  };
  if (row.unsureSince !== null && now - row.unsureSince > KNOWN_MS) return change({ state: "failed", error: UNSURE });
  if (now - row.from > OLDEST_MS) return change({ state: "failed", error: TOO_OLD });
  try {
    await ensureMeter(ctx, row.meter);
    if (row.unsureSince === null) await change({ unsureSince: now });
    await send(ctx, row);
    ctx.failPoint("stripe.meter_event");
    await ctx.write((tx) => tx.delete(meterEvent).where(eq(meterEvent.n, row.n)));
  } catch (cause) {
    if (ctx.signal.aborted || !(cause instanceof AppError)) throw cause;
    const refused = cause.kind === "conflict";
    // The meter may have been archived meanwhile.
    if (refused) meters(ctx).known = null;
    const delay = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(row.tries, 10));
    const first = row.unsureSince === null && refused;
    await change({
      tries: row.tries + 1,
      notBefore: now + delay,
      error: cause.message,
      ...(first ? { unsureSince: null } : {}),
    });
  }
}

/** What administrators see of the meters. `oldest_at` in Unix seconds. */
interface MeterEventState {
  enabled: boolean;
  waiting: number;
  failed: number;
  oldest_at: number | null;
  error: string | null;
}

/** How many uses wait or can never be sent, and the last error. */
export async function meterEventState(ctx: Ctx): Promise<MeterEventState> {
  const [count] = await ctx.db
    .select({
      waiting: sql<number>`coalesce(sum(${meterEvent.state} = 'waiting'), 0)`,
      failed: sql<number>`coalesce(sum(${meterEvent.state} = 'failed'), 0)`,
      oldest: min(meterInterval.from),
    })
    .from(meterEvent)
    .innerJoin(meterInterval, eq(meterInterval.n, meterEvent.n));
  const [last] = await ctx.db
    .select({ error: meterEvent.error })
    .from(meterEvent)
    .where(ne(meterEvent.error, ""))
    .orderBy(sql`${meterEvent.notBefore} desc`)
    .limit(1);
  return {
    enabled: await wanted(ctx),
    waiting: count?.waiting ?? 0,
    failed: count?.failed ?? 0,
    oldest_at: count?.oldest ? Math.floor(count.oldest / 1000) : null,
    error: last?.error ?? null,
  };
}
