/** The faults of the fake cloud: which exist, scripted ones, and random ones from a seed. */

/** What a request asks for, whatever the vendor calls it. */
export type Operation = "create" | "list" | "get" | "delete" | "types" | "account" | "keys" | "other";

/**
 * `error_before`: 5xx, nothing done. `error_after`: done, then 5xx. `lost_answer`: done, then the connection closes.
 * `timeout`: done, and no answer ever. `duplicate_create`: two machines for one request. `slow_delete`: gone two
 * minutes later. `stuck_delete`: answers success and leaves the machine. `no_capacity`, `zero_quota`, `no_balance`:
 * refused. `rate_limited`, `rate_limited_silent`: 429 with and without `retry-after`. `list_lag`: the machine of
 * this request is listed a minute later. `price_raised`: the machine costs twice as much as offered. `broken_list`:
 * the list ends in the middle of the answer. `wrong_region`: the machine is somewhere else than asked for.
 */
export const FAULTS = {
  error_before: ["create", "list", "get", "delete", "types"],
  error_after: ["create", "delete"],
  lost_answer: ["create", "delete"],
  timeout: ["create", "list", "delete"],
  duplicate_create: ["create"],
  slow_delete: ["delete"],
  stuck_delete: ["delete"],
  no_capacity: ["create"],
  zero_quota: ["create"],
  no_balance: ["create"],
  rate_limited: ["create", "list", "delete"],
  rate_limited_silent: ["create", "list", "delete"],
  list_lag: ["create"],
  price_raised: ["create"],
  wrong_region: ["create"],
  broken_list: ["list"],
} as const satisfies Record<string, readonly Operation[]>;
export type Fault = keyof typeof FAULTS;

interface Scripted {
  fault: Fault;
  operation: Operation;
  /** Requests of this operation that pass before it. */
  skip: number;
  times: number;
}

/** Numbers in [0, 1) from a seed, the same on every machine. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface FaultPlan {
  /** The next `times` requests (default 1) of `operation`, after `skip` of them, have the fault. */
  add(fault: Fault, options?: { operation?: Operation; skip?: number; times?: number }): void;
  /** Every fitting request has the fault with this probability. An empty object ends it. */
  chaos(rates: Partial<Record<Fault, number>>): void;
  /** The fault of a request; null = none. */
  next(operation: Operation): Fault | null;
  /** How often each fault happened. */
  happened: Map<Fault, number>;
}

export function faultPlan(random: () => number): FaultPlan {
  const scripted: Scripted[] = [];
  let rates: [Fault, number][] = [];
  const happened = new Map<Fault, number>();
  const count = (fault: Fault) => {
    happened.set(fault, (happened.get(fault) ?? 0) + 1);
    return fault;
  };
  return {
    happened,
    add(fault, { operation = FAULTS[fault][0], skip = 0, times = 1 } = {}) {
      scripted.push({ fault, operation, skip, times });
    },
    chaos(given) {
      rates = Object.entries(given) as [Fault, number][];
    },
    next(operation) {
      for (const one of scripted) {
        if (one.operation !== operation || one.times === 0) continue;
        if (one.skip > 0) {
          one.skip--;
          continue;
        }
        one.times--;
        return count(one.fault);
      }
      for (const [fault, rate] of rates)
        if ((FAULTS[fault] as readonly Operation[]).includes(operation) && random() < rate) return count(fault);
      return null;
    },
  };
}
