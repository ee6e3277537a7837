// Numbers, times and ranges on the axes of charts, and their colors.

/** A number with `digits` significant digits. */
export const short = (value, digits = 3) => {
  const size = Math.abs(value);
  for (const [unit, word] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ])
    if (size >= unit) return `${Number((value / unit).toPrecision(digits))}${word}`;
  return size !== 0 && size < 0.001 ? value.toExponential(digits - 2) : `${Number(value.toPrecision(digits))}`;
};
export const FORMATS = {
  number: short,
  hundredths: (value, digits = 3) => `${Number(value.toPrecision(digits))}%`,
  percent: (value, digits = 3) => `${Number((value * 100).toPrecision(digits))}%`,
  seconds: (value, digits) => `${short(value, digits)} s`,
  megabytes: (value, digits = 3) =>
    value >= 1024 ? `${Number((value / 1024).toPrecision(digits))} GB` : `${Math.round(value)} MB`,
  rate: short,
  /** Cents from one cent to a thousand dollars, as tables have them. */
  money: (value, digits = 3) =>
    value >= 0.01 && value < 1000 && !Number.isInteger(value)
      ? `$${value.toFixed(digits - 1)}`
      : `$${value && value < 0.01 ? Number(value.toPrecision(digits)) : short(value, digits)}`,
};

/** Labels of an axis, with as many digits as they need to differ. */
export function labels(values, format) {
  for (let digits = 3; ; digits++) {
    const texts = values.map((value) => (value === null ? "" : format(value, digits)));
    const shown = texts.filter((text) => text);
    if (digits === 6 || new Set(shown).size === shown.length) return texts;
  }
}

/** A time (seconds since 1970) formatted for an axis of `span` seconds. */
export function clock(x, span) {
  const minutes = { hour: "2-digit", minute: "2-digit", hour12: false };
  const seconds = { ...minutes, second: "2-digit" };
  const days = { month: "short", day: "numeric" };
  return new Date(x * 1000).toLocaleString([], span > 2 * 86_400 ? days : span < 900 ? seconds : minutes);
}

/** The range of the axis with padding; a flat line gets a range too. */
export function around(low, high) {
  if (low === null || high === null) return [0, 1];
  const span = high - low || Math.abs(high) || 1;
  const floor = low >= 0 && low < span * 0.4 ? 0 : low - span * 0.06;
  return [floor, high + span * 0.08];
}

/** A color of the stylesheet for the canvas. */
export function color(host, name) {
  const probe = document.createElement("i");
  probe.className = name;
  host.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
