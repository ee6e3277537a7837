/** The validation report: problems with their lines, statistics of the rows, and token counts. */
import type { RowType } from "../../../src/contract/spec.ts";
import type { Report, TokenStats } from "../../../src/data/validation/rows/report.ts";
import { formatBytes, formatInteger, formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { withCode } from "../../parts/code-spans.tsx";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Table } from "../../parts/table.tsx";
import { KeyValue } from "../../parts/value.tsx";

/** A problem of the file, or a finding with a base model; `line` is the number of a line or of a row. */
type Problem = Omit<Report["problems"][number], "code"> & { code: string };
interface Bucket {
  from: number;
  to: number;
  count: number;
}

/** Token counts and findings with a base model. */
export interface CountedTokens {
  stats: TokenStats;
  baseModel: string;
  /** Base models to choose from, the one in use first. */
  bases: string[];
}

const LOOK = {
  error: { tone: "bad-text", icon: "failed", word: "Error" },
  warning: { tone: "warn-text", icon: "warn", word: "Warning" },
  info: { tone: "muted", icon: "info", word: "Note" },
} as const;

function Places({ problem, unit }: { problem: Problem; unit: string }) {
  return (
    <details class="more" open={problem.severity === "error" && problem.samples.length < 4}>
      <summary>
        <Icon name="right" />
        {problem.count > problem.samples.length ? `First ${problem.samples.length} rows` : "Show rows"}
      </summary>
      <Table
        still
        label={`Rows with: ${problem.message}`}
        rows={problem.samples}
        rowId={(row) => `${problem.code}-${row.line}-${row.path.replace(/\W/g, "_")}`}
        columns={[
          { key: "line", label: unit, end: true, tight: true, render: (row) => formatInteger(row.line) },
          { key: "path", label: "Field", tight: true, render: (row) => <code>{row.path || "row"}</code> },
          {
            key: "sample",
            label: "Found",
            render: (row) => (
              <>
                <code class="wrap-any" dir="auto">
                  {row.sample}
                </code>
                {row.detail ? <div class="xs muted">{withCode(row.detail)}</div> : null}
              </>
            ),
          },
        ]}
      />
    </details>
  );
}

function ProblemItem({ problem, unit }: { problem: Problem; unit: string }) {
  const { tone, icon, word } = LOOK[problem.severity];
  // A problem of the file as a whole, on line 0, is in no row.
  const counted = problem.severity !== "info" && problem.samples.some(({ line }) => line > 0);
  return (
    <li class="problem">
      <span class={tone}>
        <Icon name={icon} />
        <span class="visually-hidden">{word}</span>
      </span>
      <div class="stack tight">
        <div class="row between">
          <strong class={problem.severity === "error" ? tone : undefined}>{withCode(problem.message)}</strong>
          {counted ? <span class="tag">{plural(problem.count, "row")}</span> : null}
        </div>
        {problem.advice ? <p class="muted">{withCode(problem.advice)}</p> : null}
        {counted ? null : <p class="small muted wrap-any">{withCode(problem.samples[0]?.detail)}</p>}
        {counted && problem.samples.length ? <Places problem={problem} unit={unit} /> : null}
      </div>
    </li>
  );
}

/**
 * What a base model's chat template and tokenizer do to rows, with a choice of the model. Nothing without findings and
 * without a choice.
 */
export function BaseFindings({ stats, baseModel, bases }: CountedTokens) {
  const version = usePage().url.searchParams.get("version");
  if (stats.findings.length === 0 && bases.length < 2) return null;
  return (
    <section class="panel" aria-labelledby="base-findings-title">
      <header>
        <h2 id="base-findings-title">With {baseModel}</h2>
        <span class="small muted">
          {stats.exact ? "Its chat template and tokenizer" : "Estimated from the first rows"}
        </span>
      </header>
      {bases.length > 1 ? (
        <div class="body">
          <Filters fragment="findings">
            {version ? <input type="hidden" name="version" value={version} /> : null}
            <FilterSelect name="base" label="Base model" options={bases.map((id) => [id, id])} />
          </Filters>
        </div>
      ) : null}
      {stats.findings.length === 0 ? (
        <p class="body muted">Every row is shown completely, and no text contains special tokens.</p>
      ) : (
        <ul>
          {stats.findings.map(({ samples, ...finding }) => (
            <ProblemItem
              unit="Line"
              problem={{ ...finding, samples: samples.map(({ row, ...sample }) => ({ line: row, ...sample })) }}
            />
          ))}
        </ul>
      )}
    </section>
  );
}

/** A histogram as bars, with the numbers in a table. */
export function Histogram({ title, buckets, unit }: { title: string; buckets: Bucket[]; unit: string }) {
  const most = Math.max(1, ...buckets.map((bucket) => bucket.count));
  const width = 100 / Math.max(1, buckets.length);
  return (
    <figure class="histogram">
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={`${title}: rows by ${unit}`}>
        {buckets.map((bucket, index) => {
          const height = (bucket.count / most) * 38;
          return (
            <rect
              x={(index * width + width * 0.08).toFixed(2)}
              y={(40 - height).toFixed(2)}
              width={(width * 0.84).toFixed(2)}
              height={height.toFixed(2)}
            >
              <title>{`${formatInteger(bucket.from)} to ${formatInteger(bucket.to)} ${unit}: ${plural(bucket.count, "row")}`}</title>
            </rect>
          );
        })}
      </svg>
      <figcaption class="row between small muted">
        <span class="num">{formatInteger(buckets[0]?.from ?? 0)}</span>
        <span>{unit} per row</span>
        <span class="num">{formatInteger(buckets.at(-1)?.to ?? 0)}</span>
      </figcaption>
      <details class="more">
        <summary>
          <Icon name="right" />
          Numbers
        </summary>
        <Table
          still
          label={title}
          rows={buckets.filter((bucket) => bucket.count > 0)}
          rowId={(bucket) => `${unit}-${bucket.from}`}
          columns={[
            {
              key: "range",
              label: unit,
              name: true,
              render: (b) => `${formatInteger(b.from)} – ${formatInteger(b.to)}`,
            },
            { key: "count", label: "Rows", end: true, render: (b) => formatInteger(b.count) },
          ]}
        />
      </details>
    </figure>
  );
}

const present = (spread: { min: number; p50: number; p95: number; max: number }) =>
  spread.min === spread.max
    ? formatInteger(spread.min)
    : `${formatInteger(spread.min)} to ${formatInteger(spread.max)}, median ${formatInteger(spread.p50)}`;

/** How the file was opened: `gzip, Parquet, 3.2 MB unpacked`; null for a text that was read as it is. */
function opened({ container, source, encoding }: Report): string | null {
  if (!source || !container) return null;
  const words = [
    ...source.compression,
    ["parquet", "arrow", "xlsx", "text"].includes(container) || source.compression.length > 0
      ? container.replaceAll("_", " ")
      : null,
    source.part,
    encoding.converted_from ? `converted from ${encoding.converted_from}` : null,
    source.unpacked_bytes === null ? null : `${formatBytes(source.unpacked_bytes)} unpacked`,
  ].filter((word) => word !== null);
  return words.join(", ") || null;
}

/** Labels beyond these are one entry. */
const LABELS_SHOWN = 8;

/** How the rows are spread over labels: a bar for each, with its share. */
function Labels({ counts }: { counts: NonNullable<Report["label_counts"]> }) {
  const all = counts.reduce((sum, { rows }) => sum + rows, 0);
  const rest = counts.slice(LABELS_SHOWN);
  const shown = counts.slice(0, LABELS_SHOWN);
  if (rest.length > 0)
    shown.push({ label: `${rest.length} other labels`, rows: rest.reduce((sum, { rows }) => sum + rows, 0) });
  return (
    <ul class="stack tight" aria-label="Rows by label">
      {shown.map(({ label, rows }) => (
        <li>
          <div class="row between small">
            <span class="clip" dir="auto" title={label}>
              {label}
            </span>
            <span class="num muted">
              {formatInteger(rows)} ({formatPercent(rows / all)})
            </span>
          </div>
          <progress max={all} value={rows} aria-label={`${label}: ${formatInteger(rows)} rows`} />
        </li>
      ))}
    </ul>
  );
}

export function Facts({ report }: { report: Report }) {
  const ignored = Object.entries(report.ignored_fields);
  return (
    <div class="stack">
      {report.label_counts ? <Labels counts={report.label_counts} /> : null}
      <KeyValue
        rows={[
          ["File", `${formatBytes(report.bytes)}, ${report.format?.replaceAll("_", " ") ?? "unknown format"}`],
          ["Read as", opened(report)],
          report.split.train_rows > 0 && [
            "Split",
            `${plural(report.split.train_rows, "training row")}, ${plural(report.split.holdout_rows, "validation row")} (seed ${report.split.seed})`,
          ],
          report.row_type === "text" ? null : ["Turns per row", present(report.turns)],
          ["Characters per row", present(report.characters)],
          [
            "Roles",
            Object.entries(report.roles)
              .filter(([, count]) => count > 0)
              .map(([role, count]) => `${role} ${formatInteger(count)}`)
              .join(", ") || null,
          ],
          report.labels
            ? ["Labels", `${formatInteger(report.labels.good)} good, ${formatInteger(report.labels.bad)} bad`]
            : null,
          [
            "Rows with tools",
            report.rows_with_tools
              ? `${formatInteger(report.rows_with_tools)}, ${plural(report.tool_calls, "call")}`
              : null,
          ],
          ["Assistant turns with weight 0", report.untrained_turns ? formatInteger(report.untrained_turns) : null],
          ["Duplicate rows", `${formatInteger(report.duplicates.rows)}${report.duplicates.complete ? "" : " or more"}`],
          ignored.length
            ? ["Ignored fields", ignored.map(([name, count]) => `${name} (${formatInteger(count)})`).join(", ")]
            : null,
          ["Validation time", `${formatNumber(report.took_ms / 1000)} s`],
        ]}
      />
    </div>
  );
}

export function Tokens({ stats, baseModel, type }: { stats: TokenStats; baseModel: string; type: RowType }) {
  const over = Object.entries(stats.over).filter(([, count]) => count > 0);
  return (
    <div class="stack tight">
      <Histogram title="Tokens" unit="tokens" buckets={stats.histogram} />
      <KeyValue
        rows={[
          [
            "Total tokens",
            `${stats.exact ? "" : "about "}${formatInteger(stats.tokens)}`,
            stats.exact
              ? `counted with the tokenizer of ${baseModel}`
              : `estimated from ${plural(stats.counted_rows, "row")}; the exact count is running`,
          ],
          [
            type === "preference" ? "Tokens per row (prompt with the longer answer)" : "Tokens per row",
            `median ${formatInteger(stats.p50)}, 95th percentile ${formatInteger(stats.p95)}, longest ${formatInteger(stats.max)}`,
          ],
          ...over.map(([length, count]): [string, string] => [
            `Longer than ${formatInteger(Number(length))}`,
            `${plural(count, "row")} would be ${type === "text" ? "split" : "truncated"}`,
          ]),
          stats.failed_rows
            ? ["Rejected by the chat template", plural(stats.failed_rows, "row"), stats.failure ?? undefined]
            : null,
        ]}
      />
    </div>
  );
}
