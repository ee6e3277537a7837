/** Values of tables that JSON has no form for, as texts and numbers without loss of digits. */

import { parseExact, writeExact } from "../../../lib/text/exact-json.ts";

/** JSON that is written as it is. */
export class Json {
  constructor(readonly text: string) {}
}

/** A decimal number of `units` times ten to the power of minus `scale`, with all its digits. */
export function decimalOf(units: bigint, scale: number): Json {
  const sign = units < 0n ? "-" : "";
  const digits = String(units < 0n ? -units : units).padStart(scale + 1, "0");
  const point = digits.length - Math.max(0, scale);
  if (scale <= 0) return new Json(units === 0n ? "0" : `${sign}${digits}${"0".repeat(-scale)}`);
  return new Json(`${sign}${digits.slice(0, point)}.${digits.slice(point)}`);
}

/** A whole number of two's complement. `bytes` are in the order of reading: the highest first. */
export function bigOf(bytes: Uint8Array): bigint {
  const hex = Buffer.from(bytes).toString("hex");
  return hex === "" ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${hex}`));
}

/** Times outside of what a date can be are written as they are. */
const MOST_MS = 8.64e15;

/** A point in time as ISO 8601, with the digits below a millisecond when it has any. */
export function timeOf(value: bigint, perSecond: bigint): string | bigint {
  const ms = (value * 1000n) / perSecond - (value < 0n && (value * 1000n) % perSecond !== 0n ? 1n : 0n);
  if (Math.abs(Number(ms)) > MOST_MS) return value;
  const iso = new Date(Number(ms)).toISOString();
  const rest = value - (ms * perSecond) / 1000n;
  if (perSecond <= 1000n || rest === 0n) return iso;
  const digits = String(rest).padStart(String(perSecond).length - 4, "0");
  return `${iso.slice(0, -1)}${digits.replace(/000$/, "")}Z`;
}

/** A day, counted from 1970-01-01, as ISO 8601. */
export function dayOf(days: number): string | number {
  const ms = days * 86_400_000;
  return Math.abs(ms) > MOST_MS ? days : new Date(ms).toISOString().slice(0, 10);
}

/** The shortest number with the same value of 32 bits: 0.1 instead of 0.10000000149011612. */
export function shortOf(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

/** A text that should be JSON; a text with faults stays a text. */
export function jsonOf(text: string): Json | string {
  try {
    return new Json(writeExact(parseExact(text)));
  } catch {
    return text;
  }
}
