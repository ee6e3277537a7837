/** Calendar months in UTC, written `2026-11`, and days. */

/** The month of a time in milliseconds since 1970. */
export const monthAt = (at: number): string => new Date(at).toISOString().slice(0, 7);

/** First and last millisecond (exclusive) of a month. */
export function monthRange(month: string): { from: number; to: number } {
  const [year = 1970, number = 1] = month.split("-").map(Number);
  return { from: Date.UTC(year, number - 1, 1), to: Date.UTC(year, number, 1) };
}

/** The day of a time in UTC, written `2026-11-30`. */
export const dayAt = (at: number): string => new Date(at).toISOString().slice(0, 10);
