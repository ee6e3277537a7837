/**
 * Writes metrics in the text format of Prometheus, version 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

/** The content type of the format. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Record<string, string>;

/** A metric with its series. Names follow Prometheus: base units, and `_total` at the end of a counter. */
export interface Family {
  name: string;
  type: "counter" | "gauge" | "histogram";
  help: string;
  samples: Sample[];
}

interface Sample {
  labels?: Labels;
  /** Follows the name of the family: `_bucket`, `_sum` or `_count` of a histogram. */
  suffix?: string;
  value: number;
}

const escapeHelp = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"');

function lineOf(name: string, { labels = {}, suffix = "", value }: Sample): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
  return `${name}${suffix}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}\n`;
}

/**
 * The series of one histogram.
 * @param counts values by the first bound that they do not exceed; the last count is for larger ones
 * @param sum the sum of all values
 */
export function histogram(labels: Labels, bounds: readonly number[], counts: readonly number[], sum: number): Sample[] {
  let total = 0;
  const buckets = counts.map((count, n): Sample => {
    total += count;
    const le = n < bounds.length ? String(bounds[n]) : "+Inf";
    return { suffix: "_bucket", labels: { ...labels, le }, value: total };
  });
  return [...buckets, { suffix: "_sum", labels, value: sum }, { suffix: "_count", labels, value: total }];
}

/** The document of all families. */
export function prometheusText(families: readonly Family[]): string {
  return families
    .map(
      ({ name, type, help, samples }) =>
        `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${samples.map((one) => lineOf(name, one)).join("")}`,
    )
    .join("");
}
