/** When the server of the simulated year is killed, and where: drawn from a seed. */
import type { FailPoint } from "../../../src/lib/fail-points.ts";

/** How often each point is drawn of fifty, and the passes up to which it may be spared. */
const POINTS: [point: FailPoint, times: number, passes: number][] = [
  ["meter.open", 9, 4],
  ["meter.stored", 7, 3],
  ["meter.requests", 6, 2],
  ["meter.storage", 6, 3],
  ["statement.booked", 4, 3],
  ["statement.closed", 4, 2],
  ["stripe.invoice", 3, 2],
  ["stripe.item", 3, 5],
  ["stripe.checked", 2, 2],
  ["stripe.finalized", 2, 2],
  ["stripe.refunded", 2, 1],
  ["stripe.event", 2, 3],
];

/** A kill that is due. */
interface Kill {
  point: FailPoint;
  /** `meter.open@3`: the third time that the point is passed. */
  armed: string;
  /** From when on, in milliseconds since 1970. */
  from: number;
}

/** Numbers below a bound: the same in every run with a seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

/**
 * Draws the kills of a span of time.
 * @param only the points of a short run, once each
 */
export function planKills(seed: number, from: number, to: number, only?: readonly FailPoint[]) {
  const pick = randomOf(seed);
  const points = POINTS.filter(([point]) => !only || only.includes(point));
  const planned = points.flatMap(([point, times, passes]): Kill[] =>
    Array.from({ length: only ? 1 : times }, () => ({
      point,
      // Little happens in a short run, and refunds are few: nothing is spared.
      armed: `${point}@${only ? 1 : 1 + pick(passes)}`,
      from: only || point === "stripe.refunded" ? from : from + pick(to - from),
    })),
  );
  planned.sort((a, b) => a.from - b.from);
  const done: { point: FailPoint; at: number }[] = [];
  const due = (now: number) => {
    const first = new Map<FailPoint, Kill>();
    for (const kill of planned) if (kill.from <= now && !first.has(kill.point)) first.set(kill.point, kill);
    return first;
  };
  return {
    total: planned.length,
    done,
    left: () => planned.map(({ armed }) => armed),
    /** What is armed now, as in the setting `fail_points`. */
    armed: (now: number) => [...due(now).values()].map(({ armed }) => armed).join(","),
    /** The server died at a point. @returns false when that point was not armed */
    struck(point: string, now: number): boolean {
      const kill = [...due(now).values()].find((each) => each.point === point);
      if (!kill) return false;
      planned.splice(planned.indexOf(kill), 1);
      done.push({ point: kill.point, at: now });
      return true;
    },
  };
}
export type Kills = ReturnType<typeof planKills>;
