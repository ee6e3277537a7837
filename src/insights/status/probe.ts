/** Probes the components of the status page every minute, in the background. */
import { max } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { statusComponent } from "../../db/schema/status.ts";
import { type Probe, probeAll } from "./checks.ts";
import { recordProbes } from "./record.ts";
import { forgetSummary } from "./summary-cache.ts";
import { plannedWindows } from "./windows.ts";

const PERIOD_MS = 60_000;
/** Without a stored probe for this long, the server was down or asleep. */
const LATE_MS = 150_000;

interface Prober {
  ctx: Ctx;
  /** What the last round found; null before the first one, and after one that could not be stored. */
  last: Probe[] | null;
}

async function store(prober: Prober, probes: Probe[]): Promise<void> {
  const { ctx, last } = prober;
  const now = ctx.clock.now();
  const [row] = await ctx.db.select({ at: max(statusComponent.observedUntil) }).from(statusComponent);
  const before = row?.at ?? now;
  const gap = last === null || now - before > LATE_MS;
  prober.last = null;
  await recordProbes(ctx, probes, { now, gap, windows: await plannedWindows(ctx, { from: before, until: now }) });
  prober.last = probes;
  forgetSummary(ctx);
}

async function round(prober: Prober): Promise<void> {
  const { ctx } = prober;
  try {
    await store(prober, await probeAll(ctx));
  } catch (cause) {
    if (!ctx.signal.aborted) ctx.log("error", "probes of the status page could not be stored", { cause });
  }
}

/** Starts probing. @returns stops it, and stores the time until now */
export function startStatus(ctx: Ctx): () => Promise<void> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ctx.signal]);
  const prober: Prober = { ctx, last: null };
  const running = (async () => {
    while (!signal.aborted) {
      await round(prober);
      await ctx.clock.sleep(PERIOD_MS, signal);
    }
  })();
  return async () => {
    stop.abort();
    await running;
    if (prober.last && !ctx.signal.aborted)
      await store(prober, prober.last).catch((cause) => ctx.log("warn", "the last probe was not stored", { cause }));
  };
}
