/** The 64-bit hash of the bytes of a row. */
import type { Hash } from "../rows/first-rows.ts";

/** Stores xxHash64 of the bytes of a row in `into`. It is the same on every machine and in every version. */
export function hashRow(content: Uint8Array, into: Hash): void {
  whole[0] = Bun.hash.xxHash64(content);
  into.lo = halves[0] ?? 0;
  into.hi = halves[1] ?? 0;
}
/** The same 8 bytes as one 64-bit and two 32-bit numbers, to avoid BigInt arithmetic for every row. */
const whole = new BigUint64Array(1);
const halves = new Int32Array(whole.buffer);
