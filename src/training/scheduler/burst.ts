/** Decides by a job's burst policy whether it waits for own machines or leaves for a rented one, and why. Pure. */
import type { Offer } from "../../contract/provider.ts";
import { sortedBy } from "../../lib/sorted.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { formatDuration, formatMoney } from "../../lib/text/format.ts";

/** A place where the job may run. */
export interface Option {
  rented: boolean;
  /** Who offers it, as people know it. */
  title: string;
  spot: boolean;
  /** See `machineOf`. */
  machine: string;
  /** Predicted seconds until it could start there; 0 = now, null = unknown. */
  waitS: number | null;
  /** Predicted seconds from launch to end, with what preemption repeats; null = unknown. */
  seconds: number | null;
  /** Predicted total cost in US dollars. */
  usd: number;
  /** Why it cannot be used at all now: limits, no capacity, too small; null = it can. */
  out: string | null;
}

interface Decision<T extends Option> {
  leaves: boolean;
  /** Where it should run: own machines, also after a wait, or a rented one; null = nowhere now. */
  chosen: T | null;
  /** Why it stays or leaves, in words that follow "Waits for own GPUs:" or "Leaves for …:". */
  why: string;
  /** Why each of the others is not chosen. */
  others: Map<T, string>;
}

/** Machines with the same text are equal, apart from the market. */
export const machineOf = (provider: string, { machineType, gpus, gpuName }: Offer): string =>
  `${provider} ${machineType ?? ""} ${gpus} ${gpuName ?? ""}`;

/** A spot machine goes before an equal one on demand unless preemption is expected to make it this much slower. */
const SPOT_SLOWER = 1.1;

const about = (seconds: number) => {
  const unit = seconds < 90 ? 1 : seconds < 3 * 3600 ? 60 : 3600;
  return formatDuration(Math.round(seconds / unit) * unit);
};
const endless = (seconds: number | null) => seconds ?? Number.POSITIVE_INFINITY;

type Timed = Pick<Option, "rented" | "spot" | "machine" | "waitS" | "seconds">;

/** Seconds until the end, from now; work of unknown length is the same everywhere, so it is left out. */
const finish = ({ waitS, seconds }: Timed) => endless(waitS) + (seconds ?? 0);

type Key<T> = (option: T) => readonly number[];

/** The end on a machine for comparisons: that of an equal one on demand, for a spot machine that is hardly slower. */
function finishKey(options: readonly Timed[]): (option: Timed) => number {
  const demand = new Map<string, number>();
  for (const one of options)
    if (one.rented && !one.spot) demand.set(one.machine, Math.min(finish(one), demand.get(one.machine) ?? Infinity));
  return (one) => {
    const own = finish(one);
    const equal = one.spot ? demand.get(one.machine) : undefined;
    return equal !== undefined && own <= equal * SPOT_SLOWER ? Math.min(own, equal) : own;
  };
}

/** What people call the job's own machines. */
export const ownNoun = (gpus: number): string => (gpus > 0 ? "own GPUs" : "own machines");

/**
 * The decision of a policy. Own machines that are free now are options with a wait of 0; those that are busy have the
 * predicted wait.
 * @param noun see `ownNoun`
 */
export function decideBurst<T extends Option>(policy: BurstPolicy, options: readonly T[], noun: string): Decision<T> {
  const own = options.filter((one) => !one.rented && one.out === null);
  const rented = options.filter((one) => one.rented && one.out === null);
  const key = finishKey(options);
  const byCost: Key<T> = (one) => [one.usd, key(one)];
  const byTime: Key<T> = (one) => [key(one), one.usd];
  const byWait: Key<T> = (one) => [endless(one.waitS), one.usd, finish(one)];
  const [atHome = null] = sortedBy(own, policy.type === "fastest" ? byTime : byWait);
  const others = new Map<T, string>();
  for (const one of options) if (one.out !== null) others.set(one, one.out);
  const rest = (why: (one: T) => string, chosen: T | null) => {
    for (const one of options) if (one !== chosen && !others.has(one)) others.set(one, why(one));
    return others;
  };
  const waits = atHome === null ? `no ${noun} could run it` : waitWords(atHome.waitS, noun);

  if (policy.type === "local_only") {
    const why = "its burst policy is own machines only";
    const not = (one: T) => (one.rented ? "the policy is own machines only" : "another own machine is free sooner");
    return { leaves: false, chosen: atHome, why, others: rest(not, atHome) };
  }
  if (policy.type === "burst") return stayOrRent(policy, { options, atHome, rented, byCost, rest, waits });

  const best = policy.type === "cheapest" ? byCost : byTime;
  const cheapest = policy.type === "cheapest";
  // Own machines win a tie.
  const value = (one: T) => (cheapest ? one.usd : key(one));
  const [home = null] = sortedBy(own, best);
  const [rival] = sortedBy(rented, best);
  const leaving = rival && (home === null || value(rival) < value(home)) ? rival : undefined;
  const chosen = leaving ?? home;
  const figure = (one: T) =>
    cheapest ? formatMoney(one.usd) : Number.isFinite(finish(one)) ? `done in about ${about(finish(one))}` : waits;
  const not = (one: T) =>
    chosen === null || one === chosen
      ? ""
      : cheapest
        ? `${formatMoney(one.usd)}, ${chosen.rented ? `at ${chosen.title}` : `on ${noun}`} ${formatMoney(chosen.usd)}`
        : Number.isFinite(finish(one))
          ? `done in about ${about(finish(one))}, ${chosen.rented ? `at ${chosen.title}` : `on ${noun}`} in ${about(finish(chosen))}`
          : waits;
  const atHomeWords = (one: T) =>
    cheapest || Number.isFinite(finish(one)) ? `${figure(one)} on ${noun}` : figure(one);
  const why =
    home === null
      ? `no ${noun} could run it, and ${leaving ? `it is the ${policy.type} offer` : noOffer(options)}`
      : leaving
        ? `${figure(leaving)} there, ${atHomeWords(home)}`
        : rival
          ? `${figure(home)} there, ${figure(rival)} at ${rival.title}`
          : noOffer(options);
  return { leaves: leaving !== undefined, chosen, why, others: rest(not, chosen) };
}

const waitWords = (waitS: number | null, noun: string) =>
  waitS === null ? `the wait for ${noun} is unknown` : `predicted wait for ${noun} ${about(waitS)}`;

/** Why no rented machine can be used. */
function noOffer(options: readonly Option[]): string {
  const out = options.find((one) => one.rented && one.out !== null)?.out;
  return out ? `no rented machine can be used now (${out})` : "no rented machine is offered now";
}

interface Sides<T extends Option> {
  options: readonly T[];
  atHome: T | null;
  rented: readonly T[];
  byCost: Key<T>;
  rest: (why: (one: T) => string, chosen: T | null) => Map<T, string>;
  waits: string;
}

/** Stays while the wait for own machines is short enough, or while every offer costs too much. */
function stayOrRent<T extends Option>(
  { wait_over_s: most, cost_under_usd: under }: Extract<BurstPolicy, { type: "burst" }>,
  { options, atHome, rented, byCost, rest, waits }: Sides<T>,
): Decision<T> {
  const limit = about(most);
  if (atHome !== null && endless(atHome.waitS) <= most) {
    const why =
      most === 0 ? "one is free" : `predicted wait ${about(atHome.waitS ?? 0)} is within the policy's ${limit}`;
    const not = (one: T) =>
      !one.rented ? "busy longer" : most === 0 ? "an own machine is free" : `${waits} is within ${limit}`;
    return { leaves: false, chosen: atHome, why, others: rest(not, atHome) };
  }
  const [cheapest] = sortedBy(rented, byCost);
  if (cheapest && (under === null || cheapest.usd < under)) {
    const over =
      atHome === null || atHome.waitS === null || most === 0 ? waits : `${waits} is over the policy's ${limit}`;
    const why = `${over}; about ${formatMoney(cheapest.usd)} there`;
    const not = (one: T) =>
      !one.rented
        ? over
        : under !== null && one.usd >= under
          ? `${formatMoney(one.usd)} is not below ${formatMoney(under)}`
          : "costs more in total";
    return { leaves: true, chosen: cheapest, why, others: rest(not, cheapest) };
  }
  const why =
    cheapest && under !== null
      ? `${waits}, but about ${formatMoney(cheapest.usd)} at ${cheapest.title} is not below the policy's ${formatMoney(under)}`
      : `${waits}, but ${noOffer(options)}`;
  const not = (one: T) => (one.rented ? `${formatMoney(one.usd)} is not below ${formatMoney(under)}` : "busy longer");
  return { leaves: false, chosen: atHome, why, others: rest(not, atHome) };
}

/**
 * Offers of machines that can be had now, in the order in which a launch tries them; those that the policy excludes are
 * left out. The given order, by total cost, stays where the policy has no other.
 * @param resumes it ran before: it returns to own machines that are free
 */
export function launchOrder<T extends Pick<Option, "rented" | "spot" | "machine" | "seconds" | "usd">>(
  policy: BurstPolicy,
  options: readonly T[],
  resumes: boolean,
): T[] {
  if (policy.type === "local_only") return options.filter((one) => !one.rented);
  if (policy.type === "burst") {
    const { cost_under_usd: under } = policy;
    return options.filter((one) => !one.rented || under === null || one.usd < under);
  }
  const away = ({ rented }: T) => (resumes && rented ? 1 : 0);
  if (policy.type === "cheapest") return sortedBy(options, (one) => [away(one), one.usd]);
  const key = finishKey(options.map((one) => ({ ...one, waitS: 0 })));
  return sortedBy(options, (one) => [away(one), key({ ...one, waitS: 0 }), one.usd]);
}

/** Whether it is the policy of installations that set none: a job rents as soon as nothing own is free. */
export const rentsAtOnce = (policy: BurstPolicy): boolean =>
  policy.type === "burst" && policy.wait_over_s === 0 && policy.cost_under_usd === null;
