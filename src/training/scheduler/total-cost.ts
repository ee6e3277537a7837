/**
 * Predicts what a run costs in total on a machine, so that offers are compared by that and not by their price per hour.
 * Pure functions.
 */
import type { Market } from "../../contract/provider.ts";

/** Preemptions per hour of a machine that are assumed before there is experience with its provider and market. */
export const ASSUMED_PREEMPTIONS: Readonly<Record<Market, number>> = { own: 0, on_demand: 0, spot: 0.05 };
/** The assumption weighs as much as this many hours of experience. */
const ASSUMED_HOURS = 20;
/** Seconds until the first step after a restart, besides the start of the machine. */
const RESTART_S = 120;
/** Keeps exponentials finite: with this many preemptions in one segment a run practically never ends. */
const MOST_PER_SEGMENT = 600;

/** What is known of machines of a provider and market: how often they were taken back, in how many hours of use. */
export interface Experience {
  preemptions: number;
  hours: number;
}

/** Preemptions per hour of use that are expected: the assumption, corrected by experience. */
export function preemptionsPerHour(market: Market, seen: Experience | undefined): number {
  if (market === "own") return 0;
  const { preemptions, hours } = seen ?? { preemptions: 0, hours: 0 };
  return (preemptions + ASSUMED_PREEMPTIONS[market] * ASSUMED_HOURS) / (hours + ASSUMED_HOURS);
}

/** A run on a machine. */
export interface RunOn {
  /** US dollars for the whole machine. */
  pricePerHour: number;
  /** From the start of the trainer to the end, without preemption. */
  seconds: number;
  /** Until the trainer could start; the machine is paid meanwhile. */
  startsInS: number;
  /** See `preemptionsPerHour`. */
  perHour: number;
  /** Between checkpoints; null = it saves none and begins again, 0 = a preemption loses no work. */
  saveEveryS: number | null;
}

interface TotalCost {
  usd: number;
  /** From launch to end, restarts and repeated work included. */
  seconds: number;
  /** How often its machine is expected to be taken back. */
  preemptions: number;
}

/**
 * The expected total of a run: its price times its time, with what preemption makes it repeat. Preemptions come at
 * random at a constant rate; each loses the work since the last checkpoint, as without notice, and costs a restart.
 */
export function totalCost({ pricePerHour, seconds, startsInS, perHour, saveEveryS }: RunOn): TotalCost {
  const hours = seconds / 3600;
  const restart = (startsInS + RESTART_S) / 3600;
  let [worked, preemptions] = [hours, 0];
  if (perHour > 0 && saveEveryS === 0) {
    preemptions = perHour * hours;
    worked += preemptions * restart;
  } else if (perHour > 0 && hours > 0) {
    // A segment without a checkpoint ends only when no preemption comes in its length.
    const segment = Math.min(hours, (saveEveryS ?? seconds) / 3600);
    preemptions = (hours / segment) * Math.expm1(Math.min(MOST_PER_SEGMENT, perHour * segment));
    worked = preemptions * (1 / perHour + restart);
  }
  const all = startsInS / 3600 + worked;
  return { usd: all * pricePerHour, seconds: all * 3600, preemptions };
}
