/** Splits observed time by day and by planned maintenance. Pure; times in milliseconds since 1970. */
import { DAY_MS } from "../../lib/clock.ts";

export interface Span {
  from: number;
  until: number;
}

/** A piece of one day (UTC). */
interface Piece {
  /** Days since 1970. */
  day: number;
  ms: number;
  /** It is inside a planned window. */
  planned: boolean;
}

/** The parts of a span, by day and by window; windows may overlap each other. */
export function piecesOf({ from, until }: Span, windows: readonly Span[]): Piece[] {
  const cuts = new Set([from, until]);
  for (let day = Math.floor(from / DAY_MS) + 1; day * DAY_MS < until; day++) cuts.add(day * DAY_MS);
  for (const window of windows) for (const at of [window.from, window.until]) if (at > from && at < until) cuts.add(at);
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(1).map((end, index) => {
    const start = sorted[index] ?? from;
    return {
      day: Math.floor(start / DAY_MS),
      ms: end - start,
      planned: windows.some((window) => window.from <= start && window.until >= end),
    };
  });
}
