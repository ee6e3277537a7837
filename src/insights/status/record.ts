/**
 * Stores what probes found: the state of each component, and how long it was in which state by day. A state counts for
 * the time since the probe before it; time without probes, when the server was down, counts as an outage of what runs
 * in the server.
 */
import { eq, lt, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { statusComponent, statusDay } from "../../db/schema/status.ts";
import type { Db } from "../../db/types.ts";
import { DAY_MS } from "../../lib/clock.ts";
import type { Probe, ProbeState } from "./checks.ts";
import { piecesOf, type Span } from "./intervals.ts";

/** Days that are kept and shown, with today. */
export const KEPT_DAYS = 90;
/** Requests of these pass through the server. Training continues without it. */
const NEEDS_SERVER = ["api", "inference"];

type Row = typeof statusComponent.$inferSelect;
const COLUMN = { operational: "upMs", degraded: "degradedMs", down: "downMs" } as const;

async function addTime(tx: Db, component: string, state: ProbeState, span: Span, windows: readonly Span[]) {
  if (state === "unused" || span.until <= span.from) return;
  const time = { upMs: 0, degradedMs: 0, downMs: 0, plannedMs: 0 };
  const days = new Map<number, typeof time>();
  for (const { day, ms, planned } of piecesOf(span, windows)) {
    const of = days.get(day) ?? { ...time };
    of[planned ? "plannedMs" : COLUMN[state]] += ms;
    days.set(day, of);
  }
  await tx
    .insert(statusDay)
    .values([...days].map(([day, of]) => ({ component, day, ...of })))
    .onConflictDoUpdate({
      target: [statusDay.component, statusDay.day],
      set: {
        upMs: sql`up_ms + excluded.up_ms`,
        degradedMs: sql`degraded_ms + excluded.degraded_ms`,
        downMs: sql`down_ms + excluded.down_ms`,
        plannedMs: sql`planned_ms + excluded.planned_ms`,
      },
    });
}

interface Recorded {
  /** Milliseconds since 1970. */
  now: number;
  /** No probe ran since the last stored one: the server was down, or could not store anything. */
  gap: boolean;
  windows: readonly Span[];
}

async function recordOne(tx: Db, probe: Probe, before: Row | undefined, { now, gap, windows }: Recorded) {
  const { component: id, state, problem } = probe;
  if (!before) {
    await tx.insert(statusComponent).values({ id, state, problem, since: now, observedUntil: now });
    return;
  }
  const span = { from: Math.max(before.observedUntil, now - KEPT_DAYS * DAY_MS), until: now };
  if (!gap) await addTime(tx, id, state, span, windows);
  else if (NEEDS_SERVER.includes(id) && before.state !== "unused") await addTime(tx, id, "down", span, windows);
  const since = before.state === state ? before.since : now;
  await tx.update(statusComponent).set({ state, problem, since, observedUntil: now }).where(eq(statusComponent.id, id));
}

/** Stores one round of probes, in one transaction, and deletes days that are no longer kept. */
export function recordProbes(ctx: Ctx, probes: readonly Probe[], given: Recorded): Promise<void> {
  return ctx.write(async (tx) => {
    const rows = await tx.select().from(statusComponent);
    for (const probe of probes)
      await recordOne(
        tx,
        probe,
        rows.find(({ id }) => id === probe.component),
        given,
      );
    await tx.delete(statusDay).where(lt(statusDay.day, Math.floor(given.now / DAY_MS) - KEPT_DAYS + 1));
  });
}
