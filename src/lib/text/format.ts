/** Formats numbers, durations, money, sizes and times for people: significant digits, always with a unit. */

const NONE = "–";
const group = new Intl.NumberFormat("en-US");

const finite = (value: number | null | undefined): value is number =>
  typeof value === "number" && Number.isFinite(value);

/** A whole number with thousands separators: `12,345`. */
export function formatInteger(value: number | null | undefined): string {
  return finite(value) ? group.format(Math.round(value)) : NONE;
}

/** A count in short form: `940`, `1.2K`, `3.4M`, `1.1B`. */
export function formatCount(value: number | null | undefined): string {
  if (!finite(value)) return NONE;
  const size = Math.abs(value);
  for (const [unit, word] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ] as const) {
    // 999,950 would round to "1000K": use the next unit.
    if (size >= unit * 0.99995) return `${trim((value / unit).toFixed(size / unit >= 100 ? 0 : 1))}${word}`;
  }
  return formatInteger(value);
}

const trim = (text: string) => (text.includes(".") ? text.replace(/\.0*$|(?<!0)0+$/, "") : text);

/** A measured value with `digits` significant digits: `0.0421`, `1.37`, `12,345`, `2.1e-5`. */
export function formatNumber(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined) return NONE;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 10 ** digits) return size >= 1e9 ? formatCount(value) : formatInteger(value);
  if (size < 0.001) return value.toExponential(Math.max(0, digits - 2)).replace("e-", "e-");
  return trim(value.toPrecision(digits));
}

/** A learning rate or similar number as people write it: `0.001`, `2e-5`. */
export function formatRate(value: number | null | undefined): string {
  if (!finite(value)) return NONE;
  return Math.abs(value) >= 0.0001 || value === 0 ? String(Number(value.toPrecision(4))) : value.toExponential();
}

/** A fraction from 0 to 1: `89%`, `4.2%`. */
export function formatPercent(share: number | null | undefined, digits = 0): string {
  if (!finite(share)) return NONE;
  const percent = share * 100;
  return `${trim(percent.toFixed(Math.abs(percent) < 10 && percent !== 0 ? Math.max(1, digits) : digits))}%`;
}

/** Seconds: `420 ms`, `8.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatDuration(seconds: number | null | undefined): string {
  if (!finite(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s === 0) return "0 s";
  if (s < 1) return `${Math.max(1, Math.round(s * 1000))} ms`;
  if (s < 10) return `${trim(s.toFixed(1))} s`;
  const whole = Math.round(s);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(s / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(s / 3600);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

const pair = (big: number, bigUnit: string, small: number, smallUnit: string) =>
  small ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;

/** US dollars: `$0`, `$0.004`, `$0.42`, `$1,280`. */
export function formatMoney(usd: number | null | undefined): string {
  if (!finite(usd)) return NONE;
  if (usd === 0) return "$0";
  const sign = usd < 0 ? "−" : "";
  const size = Math.abs(usd);
  if (size < 0.01) return `${sign}$${trim(size.toPrecision(1))}`;
  return size >= 1000 ? `${sign}$${group.format(Math.round(size))}` : `${sign}$${size.toFixed(2)}`;
}

/** A price in US dollars with all of its decimals, at least two: `$2.50`, `$0.0375`. */
export const formatPrice = (usd: number): string =>
  `$${usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 6 })}`;

/** Bytes in powers of 1024: `812 B`, `98 MB`, `1.6 GB`. */
export function formatBytes(bytes: number | null | undefined): string {
  if (!finite(bytes)) return NONE;
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : trim(size.toFixed(1))} ${units[unit]}`;
}

/**
 * A point in time seen from `now`, both in milliseconds: `just now`, `4 min ago`, `in 2 h`, `3 d ago`, then the date.
 */
export function formatRelative(at: number | null | undefined, now: number): string {
  if (!finite(at)) return NONE;
  const away = Math.abs(now - at) / 1000;
  if (away < 10) return "just now";
  if (away >= 30 * 86400) return new Date(at).toISOString().slice(0, 10);
  const [amount, unit] =
    away < 60
      ? [away, "s"]
      : away < 3600
        ? [away / 60, "min"]
        : away < 86400
          ? [away / 3600, "h"]
          : [away / 86400, "d"];
  // What lies ahead is rounded: a key made for 30 days expires in 30 days, not in 29.
  return at > now ? `in ${Math.round(amount)} ${unit}` : `${Math.floor(amount)} ${unit} ago`;
}

/** The exact time in UTC, for titles: `2026-03-04 15:06:07 UTC`. */
export function formatExact(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** The day in UTC: `2026-03-04 UTC`. */
export const formatDate = (at: number): string => `${new Date(at).toISOString().slice(0, 10)} UTC`;

/** An id cut to its prefix and first characters: `ftjob-4f0k2a…`. */
export function shortId(id: string): string {
  // The end of a model id is most specific; its start is shared.
  if (id.startsWith("ft:")) return id.length <= 26 ? id : `ft:…${id.slice(-22)}`;
  const prefix = /^[a-z]+[-_]/.exec(id)?.[0] ?? "";
  return id.length <= prefix.length + 8 ? id : `${id.slice(0, prefix.length + 6)}…`;
}

/** `1st`, `2nd`, `3rd`, `11th`. */
export function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${(teen ? null : ["", "st", "nd", "rd"][n % 10]) || "th"}`;
}

/** `sees usage` -> `Sees usage`. */
export const capitalize = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** `1 row`, `12 rows`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatInteger(count)} ${count === 1 ? one : many}`;
}
