/** The page of an evaluation: verdict, scores of both sides, and their answers side by side. */
import { isFinal } from "../../../src/contract/job.ts";
import type { WireMessage } from "../../../src/contract/trainer.ts";
import type { AnswerRowView, AnswerView, EvaluationView } from "../../../src/evaluation/model.ts";
import { formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { ActionButton, Tabs } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Diff, Sides } from "../../parts/sides.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Pager, Table } from "../../parts/table.tsx";
import { Progress, Stat, Stats, Time } from "../../parts/value.tsx";

interface EvaluationProps {
  evaluation: EvaluationView;
  rows: { items: AnswerRowView[]; hasMore: boolean; last: string | null };
}

const VERDICTS = {
  better: ["ok", "The fine-tuned model is better"],
  no_clear_difference: ["info", "No clear difference"],
  worse: ["bad", "The fine-tuned model is worse"],
  too_few_rows: ["warn", "Too few rows for a verdict"],
} as const;

const over = (found: { low: number; high: number }, show: (value: number) => string) =>
  `95%: ${show(found.low)} to ${show(found.high)}`;

function Summary({ evaluation }: Pick<EvaluationProps, "evaluation">) {
  const { result, comparison } = evaluation;
  if (!result) return null;
  const [kind, title] = comparison ? VERDICTS[comparison.verdict] : (["info", "One side only"] as const);
  const { base, tuned } = result;
  const shown = tuned ?? base;
  const percent = (value: number | undefined) => formatPercent(value);
  const number = (value: number) => formatNumber(value);
  const { judged } = evaluation;
  const exact = {
    name: judged === "pairs" ? "Pairs ranked correctly" : "Exact match",
    of: (side: typeof base) => percent(side.exact_match.mean),
    range: (side: typeof base) => over(side.exact_match, percent),
  };
  const preferred = {
    name: "Better answer preferred",
    of: (side: typeof base) => percent(side.preference?.mean),
    range: (side: typeof base) => (side.preference ? over(side.preference, percent) : ""),
  };
  const perplexity = { name: "Perplexity", of: (side: typeof base) => number(side.perplexity), range: () => "" };
  const byToken = [
    {
      name: "Token accuracy",
      of: (side: typeof base) => percent(side.token_accuracy.mean),
      range: (side: typeof base) => over(side.token_accuracy, percent),
    },
    {
      name: "Loss (nats per token)",
      of: (side: typeof base) => number(side.loss.mean),
      range: (side: typeof base) => over(side.loss, number),
    },
    perplexity,
  ];
  const rows = [
    ...(shown.preference && judged === "answers" ? [preferred] : []),
    ...(judged === "texts" ? [] : [exact]),
    ...(judged === "pairs" ? [] : byToken),
  ];
  const first = rows[0] ?? perplexity;
  return (
    <>
      <Notice kind={kind} title={title}>
        {comparison?.sentence ?? "There is no fine-tuned side to compare with."}
      </Notice>
      <Stats>
        <Stat label={first.name} big note={tuned ? `base: ${first.of(base)}` : undefined}>
          {first.of(shown)}
        </Stat>
        {comparison && judged !== "texts" ? (
          <>
            <Stat label="Improved" note="wrong before, correct now">
              {comparison.fixed}
            </Stat>
            <Stat label="Regressed" note="correct before, wrong now">
              {comparison.broken}
            </Stat>
            <Stat label="Both correct">{comparison.both_right}</Stat>
            <Stat label="Both wrong">{comparison.both_wrong}</Stat>
          </>
        ) : null}
      </Stats>
      <Table
        still
        label="Scores of both sides"
        rows={rows}
        rowId={(row) => row.name}
        columns={[
          { key: "name", label: `On ${plural(base.rows, "row")}`, name: true, render: (row) => row.name },
          { key: "base", label: "Base", end: true, render: (row) => row.of(base) },
          {
            key: "base-range",
            label: "Base, interval",
            hideLabel: true,
            wide: true,
            render: (row) => <span class="muted small">{row.range(base)}</span>,
          },
          {
            key: "tuned",
            label: "Fine-tuned",
            end: true,
            render: (row) => (tuned ? <strong>{row.of(tuned)}</strong> : "–"),
          },
          {
            key: "tuned-range",
            label: "Fine-tuned, interval",
            hideLabel: true,
            wide: true,
            render: (row) => <span class="muted small">{tuned ? row.range(tuned) : ""}</span>,
          },
        ]}
      />
    </>
  );
}

export function EvaluationState({ evaluation }: Pick<EvaluationProps, "evaluation">) {
  const { url } = usePage();
  const fraction = evaluation.progress.fraction;
  const ended = isFinal(evaluation.status);
  return (
    <div id="state" class="stack" {...liveOn(url, "evaluations", `job:${evaluation.job_id}`)}>
      {evaluation.error ? (
        <Notice kind="bad" title="The evaluation failed">
          {evaluation.error.message} {evaluation.error.advice}
        </Notice>
      ) : null}
      {ended ? null : (
        <div class="panel">
          <div class="body">
            <Progress
              label="Rows answered"
              fraction={typeof fraction === "number" ? fraction : null}
              left={String(evaluation.progress.phase ?? "Queued").replaceAll("_", " ")}
              right="Continues when you leave this page"
            />
          </div>
        </div>
      )}
      <Summary evaluation={evaluation} />
    </div>
  );
}

function Side({ side, expected }: { side: AnswerView | null; expected: string }) {
  if (!side) return <span class="muted">not answered yet</span>;
  return side.exact ? <span>{side.output}</span> : <Diff expected={expected} text={side.output} />;
}

const mark = (side: AnswerView | null) => (side ? (side.exact ? " · correct" : " · wrong") : "");

function Row({ row }: { row: AnswerRowView }) {
  const question = (row.prompt as WireMessage[]).filter((message) => message.role !== "system").at(-1);
  return (
    <li class="panel" id={`row-${row.row_id}`}>
      <header>
        <h2 class="small clip" dir="auto" title={String(question?.content ?? "")}>
          {String(question?.content ?? "")}
        </h2>
        <span class="tag">row {row.row_id}</span>
      </header>
      <div class="body">
        <Sides
          sides={[
            { title: "Expected", body: row.expected },
            { title: `Base${mark(row.base)}`, body: <Side side={row.base} expected={row.expected} /> },
            { title: `Fine-tuned${mark(row.tuned)}`, body: <Side side={row.tuned} expected={row.expected} /> },
          ]}
        />
      </div>
    </li>
  );
}

export function EvaluationRows({ evaluation, rows }: EvaluationProps) {
  const c = evaluation.comparison;
  // A failed evaluation without answers has nothing to filter.
  if (evaluation.error && rows.items.length === 0) return <section id="rows" />;
  return (
    <section id="rows" class="stack">
      <Tabs
        label="Rows"
        name="filter"
        fragment="rows"
        tabs={[
          { key: "all", label: "All rows" },
          { key: "changed", label: "Changed" },
          { key: "fixed", label: "Improved", count: c?.fixed },
          { key: "broken", label: "Regressed", count: c?.broken },
          { key: "both_wrong", label: "Both wrong", count: c?.both_wrong },
          { key: "both_right", label: "Both correct", count: c?.both_right },
        ]}
      />
      {rows.items.length === 0 ? (
        <Empty slim icon="scale" title="No rows">
          {evaluation.result ? "No answers in this group." : "Answers appear while the job runs."}
        </Empty>
      ) : (
        <>
          <ul class="stack">
            {rows.items.map((row) => (
              <Row row={row} />
            ))}
          </ul>
          <Pager shown={rows.items.length} hasMore={rows.hasMore} last={rows.last} fragment="rows" order="data" />
        </>
      )}
    </section>
  );
}

export function EvaluationPage(props: EvaluationProps) {
  const { evaluation } = props;
  return (
    <Layout
      title={evaluation.name}
      crumbs={[{ label: "Evaluations", href: "/evaluations" }]}
      beside={<StateBadge state={evaluation.status} />}
      actions={
        evaluation.tuned_model ? (
          <>
            <a class="button" href={`/models/${encodeURIComponent(evaluation.tuned_model)}`}>
              View model
            </a>
            {evaluation.error ? (
              <ActionButton action="/evaluations" class="primary" fields={{ model: evaluation.tuned_model }}>
                Evaluate again
              </ActionButton>
            ) : (
              <ActionButton action="/deployments" class="primary" fields={{ model: evaluation.tuned_model }}>
                Deploy
              </ActionButton>
            )}
          </>
        ) : null
      }
      live={{ jobs: [evaluation.job_id], topics: ["evaluations"] }}
    >
      <div class="stack loose">
        <EvaluationState evaluation={evaluation} />
        <EvaluationRows {...props} />
        <p class="small muted">
          Created <Time at={evaluation.created_at * 1000} /> by job{" "}
          <a href={`/jobs/${evaluation.job_id}`}>{evaluation.job_id}</a>. Answers are compared with the expected answer:
          missing words are struck through, added words are highlighted. Tool calls are equal when name and arguments
          are, in any order.
        </p>
      </div>
    </Layout>
  );
}
