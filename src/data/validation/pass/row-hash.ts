/** The 64-bit hash of the bytes of a row. */

/** The hash as two numbers of 32 bits. */
interface RowHash {
  lo: number;
  hi: number;
}

/** xxHash64 of the bytes of a row. It is the same on every machine and in every version. */
export function hashRow(content: Uint8Array): RowHash {
  whole[0] = Bun.hash.xxHash64(content);
  return { lo: halves[0] ?? 0, hi: halves[1] ?? 0 };
}
/** The same 8 bytes as one 64-bit and two 32-bit numbers, to avoid BigInt arithmetic for every row. */
const whole = new BigUint64Array(1);
const halves = new Uint32Array(whole.buffer);
