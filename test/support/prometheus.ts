/** A strict reader of Prometheus' text format: it refuses what Prometheus refuses, and counters without `_total`. */

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;

/** The labels of `{a="b"}`; throws when a character is left over. */
function labelsOf(text: string): Map<string, string> {
  const inner = text.slice(1, -1);
  const labels = new Map<string, string>();
  LABEL.lastIndex = 0;
  for (let at = 0; at < inner.length; at = LABEL.lastIndex) {
    const match = LABEL.exec(inner);
    if (!match?.[1]) throw new Error(`bad labels: ${text}`);
    if (labels.has(match[1])) throw new Error(`label twice: ${text}`);
    labels.set(match[1], match[2] ?? "");
  }
  return labels;
}

/** Every histogram's buckets grow and end at +Inf with the count. */
function checkHistogram(name: string, series: Map<string, number>): void {
  for (const [key, count] of series) {
    if (!key.startsWith(`${name}_count`)) continue;
    const labels = key.slice(`${name}_count`.length, -1);
    const buckets = [...series].filter(([other]) => other.startsWith(`${name}_bucket${labels},le=`));
    const values = buckets.map(([, value]) => value);
    if (values.some((value, n) => value < (values[n - 1] ?? 0))) throw new Error(`${key}: buckets shrink`);
    if (!buckets.at(-1)?.[0].endsWith(',le="+Inf"}') || values.at(-1) !== count)
      throw new Error(`${key}: the last bucket is not +Inf with the count`);
  }
}

/** Values by series, written as in the text. @throws Error naming the line */
export function parsePrometheus(text: string): Map<string, number> {
  if (!text.endsWith("\n")) throw new Error("the text does not end with a line feed");
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  let family = "";
  let help = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (kind === "HELP") {
      help = name;
      continue;
    }
    if (kind === "TYPE") {
      if (types.has(name) || help !== name) throw new Error(`a second TYPE, or no HELP: ${line}`);
      if (!["counter", "gauge", "histogram"].includes(rest)) throw new Error(`unknown type: ${line}`);
      if ((rest === "counter") !== name.endsWith("_total")) throw new Error(`_total is for counters: ${line}`);
      types.set(name, rest);
      family = name;
      continue;
    }
    const [, sample = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
    const suffix = types.get(family) === "histogram" ? /^_(bucket|sum|count)$/ : /^$/;
    if (!sample.startsWith(family) || !suffix.test(sample.slice(family.length)))
      throw new Error(`not in its family ${family}: ${line}`);
    if (labels) labelsOf(labels);
    const key = sample + labels;
    if (series.has(key)) throw new Error(`series twice: ${line}`);
    if (!Number.isFinite(Number(value))) throw new Error(`not a number: ${line}`);
    series.set(key, Number(value));
  }
  for (const [name, type] of types) if (type === "histogram") checkHistogram(name, series);
  return series;
}
