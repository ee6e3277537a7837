// Numbers, times and ranges on the axes of charts.

export const short = (value) => {
  const size = Math.abs(value);
  for (const [unit, word] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ])
    if (size >= unit) return `${Number((value / unit).toPrecision(3))}${word}`;
  return size !== 0 && size < 0.001 ? value.toExponential(1) : `${Number(value.toPrecision(3))}`;
};
export const FORMATS = {
  number: short,
  hundredths: (value) => `${Number(value.toPrecision(3))}%`,
  percent: (value) => `${Number((value * 100).toPrecision(3))}%`,
  seconds: (value) => `${short(value)} s`,
  megabytes: (value) => (value >= 1024 ? `${Number((value / 1024).toPrecision(3))} GB` : `${Math.round(value)} MB`),
  rate: short,
};

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
