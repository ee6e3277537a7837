/** The problems of a file as one table, and what was left out because of them as one line. */
import type { ComponentChildren } from "preact";
import type { VersionView } from "../../../src/data/datasets/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { withCode } from "../../parts/code-spans.tsx";
import { ActionButton } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Table } from "../../parts/table.tsx";

type Problem = Report["problems"][number];

const LOOK = {
  error: { tone: "bad-text", icon: "failed", word: "Error" },
  warning: { tone: "warn-text", icon: "warn", word: "Warning" },
  info: { tone: "muted", icon: "info", word: "Note" },
} as const;

const LINES_SHOWN = 5;
const PAIRS_SHOWN = 20;

interface ProblemsProps {
  version: VersionView;
  report: Report | null;
  /** The newest version is shown, so its rows can be edited. */
  editable: boolean;
}

const linesOf = (problems: Problem[]) =>
  [...new Set(problems.flatMap(({ samples }) => samples.map(({ line }) => line)))]
    .filter((line) => line > 0)
    .sort((a, b) => a - b);

const joined = (parts: ComponentChildren[]) => parts.flatMap((part, index) => (index === 0 ? [part] : [", ", part]));

function Lines({ problem, version, editable }: { problem: Problem } & Omit<ProblemsProps, "report">) {
  const lines = linesOf([problem]);
  const shown = lines.slice(0, LINES_SHOWN);
  const links = shown.map((line) =>
    editable ? (
      <a href={`/datasets/${version.dataset_id}/rows/${line}`} aria-label={`Edit line ${line}`}>
        {formatInteger(line)}
      </a>
    ) : (
      formatInteger(line)
    ),
  );
  return (
    <>
      {joined(links)}
      {problem.count > shown.length && shown.length > 0 ? ", …" : null}
    </>
  );
}

function ProblemTable({ problems, ...rest }: { problems: Problem[] } & Omit<ProblemsProps, "report">) {
  return (
    <Table
      still
      label="Problems"
      rows={problems}
      rowId={(problem) => `problem-${problem.code}`}
      columns={[
        {
          key: "problem",
          label: "Problem",
          name: true,
          render: ({ severity, message }) => {
            const { tone, icon, word } = LOOK[severity];
            return (
              <span class="row fixed top-aligned problem-text">
                <span class={tone}>
                  <Icon name={icon} />
                  <span class="visually-hidden">{word}</span>
                </span>
                <span>{withCode(message)}</span>
              </span>
            );
          },
        },
        {
          key: "rows",
          label: "Rows",
          end: true,
          tight: true,
          wide: true,
          // A problem of the file as a whole is in no row.
          render: (problem) =>
            problem.severity === "info" || linesOf([problem]).length === 0 ? "–" : formatInteger(problem.count),
        },
        { key: "lines", label: "Lines", render: (problem) => <Lines problem={problem} {...rest} /> },
        {
          key: "sample",
          label: "Found",
          wide: true,
          render: ({ samples: [first] }) => {
            const found = [first?.path, first?.detail || first?.sample].filter(Boolean).join(": ");
            return (
              <span class="clip small muted" dir="auto" title={found}>
                {found}
              </span>
            );
          },
        },
      ]}
    />
  );
}

/** What to do about each problem. */
function Advice({ problems }: { problems: Problem[] }) {
  const advised = problems.filter(({ advice }) => advice);
  if (advised.length === 0) return null;
  return (
    <details class="more in-panel">
      <summary>
        <Icon name="right" />
        How to fix
      </summary>
      <dl class="small stack tight body">
        {advised.map(({ message, advice }) => (
          <div>
            <dt>
              <strong>{withCode(message)}</strong>
            </dt>
            <dd class="muted">{withCode(advice)}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

/** The duplicates as pairs of lines, and the buttons that remove them. */
function Duplicates({ report, version, editable }: ProblemsProps) {
  const { rows = 0, near = 0, removed = 0, pairs = [] } = report?.duplicates ?? {};
  if (rows + near === 0 || removed > 0) return null;
  const action = `/datasets/${version.dataset_id}/versions`;
  const shown = pairs.slice(0, PAIRS_SHOWN);
  return (
    <>
      {editable && version.status === "ready" ? (
        <div class="row body">
          {rows > 0 ? (
            <ActionButton action={action} fields={{ remove_duplicates: "exact" }}>
              Remove duplicates
            </ActionButton>
          ) : null}
          {near > 0 ? (
            <ActionButton action={action} fields={{ remove_duplicates: "near" }}>
              {rows > 0 ? "Remove near duplicates too" : "Remove near duplicates"}
            </ActionButton>
          ) : null}
          <span class="small muted">
            {[rows ? plural(rows, "duplicate") : null, near ? plural(near, "near duplicate") : null]
              .filter(Boolean)
              .join(", ")}
            . Creates a new version; the file does not change.
          </span>
        </div>
      ) : null}
      {shown.length > 0 ? (
        <details class="more in-panel">
          <summary>
            <Icon name="right" />
            Pairs of lines
          </summary>
          <p class="small body">
            {shown
              .map(
                ({ line, first_line: first, kind }) => `${line} ${kind === "exact" ? "repeats" : "resembles"} ${first}`,
              )
              .join(", ")}
            {rows + near > shown.length ? ", …" : ""}
          </p>
        </details>
      ) : null}
    </>
  );
}

/** Problems that a new version solved: the rows that it leaves out. */
function LeftOut({ report, version }: Pick<ProblemsProps, "report" | "version">) {
  if (!report) return null;
  const errors = report.bad_rows_left_out ? report.problems.filter(({ severity }) => severity === "error") : [];
  const removed = report.problems.filter(({ code }) => code === "duplicate_removed");
  const entries: [string, Problem[]][] = [];
  if (errors.length > 0) entries.push([`${plural(report.bad_rows, "row")} left out`, errors]);
  if (removed.length > 0) entries.push([`${plural(report.duplicates.removed ?? 0, "duplicate")} removed`, removed]);
  if (entries.length === 0) return null;
  const folded = entries.map(([title, problems]) => {
    const lines = linesOf(problems);
    const count = problems.reduce((sum, problem) => sum + problem.count, 0);
    const more = lines.length > 10 || count > lines.length ? ", …" : "";
    return (
      <details class="more small muted">
        <summary>
          <Icon name="right" />
          {title} ({lines.length === 1 ? "line" : "lines"} {lines.slice(0, 10).map(formatInteger).join(", ")}
          {more})
        </summary>
        <section class="panel">
          <ProblemTable problems={problems} version={version} editable={false} />
        </section>
      </details>
    );
  });
  return <div>{folded}</div>;
}

export function Problems(props: ProblemsProps) {
  const { report, version, editable } = props;
  if (!report) return null;
  const solved = (problem: Problem) =>
    problem.code === "duplicate_removed" ||
    problem.code === "bad_rows_left_out" ||
    (report.bad_rows_left_out && problem.severity === "error");
  const open = report.problems.filter((problem) => !solved(problem));
  const errors = open.some(({ severity }) => severity === "error");
  return (
    <>
      <LeftOut report={report} version={version} />
      {open.length > 0 ? (
        <section class="panel problems" aria-labelledby="problems-title">
          <header>
            <h2 id="problems-title">{errors ? "Problems to fix" : "Warnings and notes"}</h2>
            {version.bad_rows > 0 && version.file_id ? (
              <a
                class="button small"
                href={`/datasets/${version.dataset_id}/faulty-rows?version=${version.id}`}
                download
              >
                Download faulty rows
              </a>
            ) : (
              <span class="small muted">Lines of the uploaded file</span>
            )}
          </header>
          <ProblemTable problems={open} version={version} editable={editable} />
          <Duplicates {...props} />
          <Advice problems={open} />
        </section>
      ) : null}
    </>
  );
}
