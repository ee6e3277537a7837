/** Writes whole numbers of 64 bits as JSON without loss of digits. */

/** JSON text that `JSON.stringify` copies as it is: `JSON.rawJSON` of ECMAScript, unknown to TypeScript so far. */
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): unknown };

/** A value for `JSON.stringify` that is written with all its digits. */
export const whole = (value: number | bigint): unknown =>
  typeof value === "number" || Number.isSafeInteger(Number(value)) ? Number(value) : rawJSON(String(value));

/** For `JSON.stringify`: writes the big numbers inside of a value. */
export const replaceBig = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? whole(value) : value);
