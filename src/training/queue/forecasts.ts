/**
 * The newest round and its predictions for whoever looks: decided anew when something changed, shared by all who look
 * at once, and never for more than a part of the time.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import { type Prediction, predictGently } from "../scheduler/forecast.ts";
import type { Input, Round } from "../scheduler/types.ts";
import { decide, queueCarry } from "./runner.ts";

/** A decided round is shown for so long, predictions a little longer: they cost more. */
const FRESH_MS = 2000;
const FORETOLD_MS = 10_000;
/**
 * While much changes, at most this part of the time goes into deciding for those who look, and into predictions that
 * are not quick.
 */
const SHARE = 0.25;
const QUICK_MS = 50;

interface Foretold {
  at: number;
  /** Of what the scheduler carried when it was made. */
  version: number;
  jobs: ReadonlySet<string>;
  found: Promise<Map<string, Prediction>>;
  /** Milliseconds it took; null while it is made. */
  took: number | null;
}
export interface Known {
  input: Input;
  round: Round;
  foretold: Foretold | null;
}
interface Look {
  /** It reads already: what changes now is not in it. */
  begun: boolean;
  found: Promise<{ input: Input; round: Round }>;
  /** When the next may begin, by `performance.now()`. */
  restUntil: number;
}
const seenOf = perContext((): { known: Known | null; look: Look | null } => ({ known: null, look: null }));

/**
 * Decides once for all who ask before it begins; after that the next one follows, with a rest in proportion to what it
 * cost.
 */
function look(ctx: Ctx): Promise<{ input: Input; round: Round }> {
  const seen = seenOf(ctx);
  const before = seen.look;
  if (before && !before.begun) return before.found;
  const rested = async () => {
    await before?.found.catch(() => null);
    const rest = (before?.restUntil ?? 0) - performance.now();
    if (rest > 0) await Bun.sleep(rest);
  };
  const made: Look = {
    begun: false,
    restUntil: 0,
    found: rested().then(async () => {
      made.begun = true;
      const began = performance.now();
      try {
        return await decide(ctx);
      } finally {
        const now = performance.now();
        made.restUntil = now + (now - began) * (1 / SHARE - 1);
      }
    }),
  };
  seen.look = made;
  return made.found;
}

/** The newest round, decided anew when it is old or something changed (nothing is carried out here). */
export async function newest(ctx: Ctx): Promise<Known> {
  const { last } = queueCarry(ctx);
  const now = ctx.clock.now();
  const { input, round } = last && Math.abs(now - last.input.now) < FRESH_MS ? last : await look(ctx);
  const seen = seenOf(ctx);
  const made: Known = { input, round, foretold: seen.known?.foretold ?? null };
  seen.known = made;
  return made;
}

/**
 * Whether predictions still say something: they are young, and nothing changed since or making them takes too long to
 * do it again already.
 */
function holds(foretold: Foretold, now: number, version: number): boolean {
  const age = Math.abs(now - foretold.at);
  if (age >= FORETOLD_MS) return false;
  if (foretold.version === version || foretold.took === null) return true;
  return foretold.took > QUICK_MS && age < foretold.took / SHARE;
}

/** Predictions; made anew when they are old, or when they are of a queue without the job that is asked for. */
export function foretell(ctx: Ctx, state: Known, jobId?: string): Promise<Map<string, Prediction>> {
  const now = ctx.clock.now();
  const { version } = queueCarry(ctx);
  const { foretold } = state;
  if (foretold && holds(foretold, now, version) && (jobId === undefined || foretold.jobs.has(jobId)))
    return foretold.found;
  const began = performance.now();
  const found = predictGently(state.input, state.round.order, () => Bun.sleep(0));
  const made: Foretold = { at: now, version, jobs: new Set(state.round.order), found, took: null };
  state.foretold = made;
  // A failure is told to whoever waits for it, and the next one tries again.
  found
    .catch(() => null)
    .finally(() => {
      made.took = performance.now() - began;
    });
  return found;
}
