/** The page of an evaluation: verdict, scores of both sides, and their answers side by side. */
import { isFinal } from "../../../src/contract/job.ts";
import type { WireMessage } from "../../../src/contract/trainer.ts";
import type { AnswerRowView, AnswerView, EvaluationView } from "../../../src/evaluation/model.ts";
import { formatNumber, formatPercent, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm, Tabs } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { OverlapNotice } from "../../parts/overlap.tsx";
import { Diff, Sides } from "../../parts/sides.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Pager, Table } from "../../parts/table.tsx";
import { KeyValue, Progress, Stat, Stats, Time } from "../../parts/value.tsx";

interface EvaluationProps {
  evaluation: EvaluationView;
  rows: { items: AnswerRowView[]; hasMore: boolean; last: string | null };
}

const VERDICTS = {
  better: ["ok", "is better"],
  no_clear_difference: ["info", "No clear difference"],
  worse: ["bad", "is worse"],
  too_few_rows: ["warn", "Too few rows for a verdict"],
} as const;

/** How the page names the two sides. */
const sidesOf = (evaluation: EvaluationView) =>
  evaluation.against_model
    ? { base: shortName(evaluation.against_model), tuned: shortName(evaluation.tuned_model ?? "") }
    : { base: "Base", tuned: "Fine-tuned" };

/** A fine-tuned model's name and checkpoint without its base and organization. */
const shortName = (id: string) => id.split(":").slice(3).join(":") || id;

function titleOf(evaluation: EvaluationView): string {
  const { comparison, against_model } = evaluation;
  if (!comparison) return "One side only";
  const [, words] = VERDICTS[comparison.verdict];
  if (!words.startsWith("is ")) return words;
  return `${against_model ? sidesOf(evaluation).tuned : "The fine-tuned model"} ${words}`;
}

/** The sentence of a verdict without the words that its title has already. */
const detailOf = (sentence: string) =>
  sentence.replace(/^(?:Better|Worse|No clear difference|Too few rows for a verdict): /, "");

/** A model or dataset as a link, or its name when it was deleted. */
function Named({ href, name, deleted }: { href: string; name: string; deleted: boolean }) {
  if (deleted)
    return (
      <span class="wrap-any">
        {name} <span class="tag">deleted</span>
      </span>
    );
  return (
    <a class="wrap-any" href={href} dir="auto">
      {name}
    </a>
  );
}

const ROWS = { holdout: "validation rows", train: "training rows", all: "all rows" } as const;

/** Which models answered which rows, with links. */
function Subjects({ evaluation }: Pick<EvaluationProps, "evaluation">) {
  const { base_model: base, tuned_model: tuned, against_model: against, dataset, deleted_models, grader } = evaluation;
  const model = (id: string) => (
    <Named href={`/models/${encodeURIComponent(id)}`} name={id} deleted={deleted_models.includes(id)} />
  );
  return (
    <section class="panel body-only">
      <KeyValue
        rows={[
          ["Model", model(tuned ?? base)],
          tuned ? ["Compared with", model(against ?? base)] : null,
          [
            "Dataset",
            dataset ? (
              <Named
                href={`/datasets/${dataset.id}?version=${evaluation.dataset_version_id}`}
                name={`${dataset.name}, version ${dataset.version}`}
                deleted={dataset.deleted}
              />
            ) : (
              evaluation.dataset_version_id
            ),
            ROWS[evaluation.split],
          ],
          grader ? ["Grader", `${grader.name ?? "grader"} (${grader.type.replaceAll("_", " ")})`] : null,
        ]}
      />
    </section>
  );
}

const over = (found: { low: number; high: number }, show: (value: number) => string) =>
  `95%: ${show(found.low)} to ${show(found.high)}`;

function Summary({ evaluation }: Pick<EvaluationProps, "evaluation">) {
  const { result, comparison } = evaluation;
  if (!result) return null;
  const kind = comparison ? VERDICTS[comparison.verdict][0] : "info";
  const names = sidesOf(evaluation);
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
  const { rewards } = evaluation;
  const rewardOf = (side: typeof base) => (side === tuned ? rewards?.tuned : rewards?.base);
  const reward = {
    name: "Mean reward",
    of: (side: typeof base) => formatNumber(rewardOf(side)?.mean),
    range: (side: typeof base) => {
      const found = rewardOf(side);
      return found ? `${over(found, number)}${found.failed ? `, ${found.failed} not graded` : ""}` : "";
    },
  };
  const rows = [
    ...(rewards ? [reward] : []),
    ...(shown.preference && judged === "answers" ? [preferred] : []),
    ...(judged === "texts" ? [] : [exact]),
    ...(judged === "pairs" ? [] : byToken),
  ];
  const first = rows[0] ?? perplexity;
  return (
    <>
      <Notice kind={kind} title={titleOf(evaluation)}>
        {comparison ? detailOf(comparison.sentence) : "There is no fine-tuned side to compare with."}
      </Notice>
      {rewards?.tuned?.error || rewards?.base?.error ? (
        <Notice kind="warn" title="Some answers could not be graded">
          {rewards.tuned?.error ?? rewards.base?.error}
        </Notice>
      ) : null}
      <Stats>
        <Stat label={first.name} big note={tuned ? `${names.base}: ${first.of(base)}` : undefined}>
          {first.of(shown)}
        </Stat>
        {comparison && judged !== "texts" ? (
          <>
            <Stat
              label="Improved"
              note={evaluation.against_model ? `wrong with ${names.base}` : "wrong before, correct now"}
            >
              {comparison.fixed}
            </Stat>
            <Stat
              label="Regressed"
              note={evaluation.against_model ? `correct with ${names.base}` : "correct before, wrong now"}
            >
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
          { key: "base", label: names.base, end: true, render: (row) => row.of(base) },
          {
            key: "base-range",
            label: "Base, interval",
            hideLabel: true,
            wide: true,
            render: (row) => <span class="muted small">{row.range(base)}</span>,
          },
          {
            key: "tuned",
            label: names.tuned,
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
      {evaluation.overlap ? <OverlapNotice overlap={evaluation.overlap} /> : null}
    </div>
  );
}

function Side({ side, expected }: { side: AnswerView | null; expected: string }) {
  if (!side) return <span class="muted">not answered yet</span>;
  return side.exact ? <span>{side.output}</span> : <Diff expected={expected} text={side.output} />;
}

function mark(side: AnswerView | null): string {
  if (!side) return "";
  const reward = side.grade_error
    ? " · not graded"
    : side.reward === null
      ? ""
      : ` · reward ${formatNumber(side.reward)}`;
  return `${side.exact ? " · correct" : " · wrong"}${reward}`;
}

function Row({ row, names, one }: { row: AnswerRowView; names: { base: string; tuned: string }; one: boolean }) {
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
            { title: `${names.base}${mark(row.base)}`, body: <Side side={row.base} expected={row.expected} /> },
            ...(one
              ? []
              : [
                  {
                    title: `${names.tuned}${mark(row.tuned)}`,
                    body: <Side side={row.tuned} expected={row.expected} />,
                  },
                ]),
          ]}
        />
      </div>
    </li>
  );
}

export function EvaluationRows({ evaluation, rows }: EvaluationProps) {
  const { url } = usePage();
  const c = evaluation.comparison;
  // Rows arrive while it runs; afterwards nothing moves.
  const live = isFinal(evaluation.status) ? {} : liveOn(url, "evaluations", `job:${evaluation.job_id}`);
  // A failed evaluation without answers has nothing to filter.
  if (evaluation.error && rows.items.length === 0) return <section id="rows" />;
  return (
    <section id="rows" class="stack" {...live}>
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
          {evaluation.dataset?.deleted ? (
            <Notice kind="info" title="The dataset was deleted">
              The texts of its rows and of the answers were deleted with it. Scores stay.
            </Notice>
          ) : null}
          <ul class="stack">
            {rows.items.map((row) => (
              <Row row={row} names={sidesOf(evaluation)} one={evaluation.tuned_model === null} />
            ))}
          </ul>
          <Pager shown={rows.items.length} hasMore={rows.hasMore} last={rows.last} fragment="rows" order="data" />
        </>
      )}
    </section>
  );
}

function EvaluationActions({ evaluation }: Pick<EvaluationProps, "evaluation">) {
  const { tuned_model: tuned, dataset } = evaluation;
  const again = evaluation.deleted_models.length === 0 && dataset && !dataset.deleted;
  return (
    <>
      {again ? (
        <RoleLink
          class={evaluation.error ? "button primary" : "button"}
          href={`/evaluations/new?from=${evaluation.id}`}
        >
          Evaluate again
        </RoleLink>
      ) : (
        <RoleLink class="button" href="/evaluations/new">
          New evaluation
        </RoleLink>
      )}
      {tuned && !evaluation.error && !evaluation.deleted_models.includes(tuned) ? (
        <ActionButton action="/deployments" class="primary" fields={{ model: tuned }}>
          Deploy
        </ActionButton>
      ) : null}
      {isFinal(evaluation.status) ? (
        <ConfirmForm
          id="delete-evaluation"
          action={`/evaluations/${evaluation.id}/delete`}
          owner={evaluation.created_by}
          label="Delete"
          buttonClass="button danger"
          title={`Delete “${evaluation.name}”?`}
          lost="Its answers, scores and log are deleted. The training job and the models stay."
          verb="Delete this evaluation"
        />
      ) : null}
    </>
  );
}

export function EvaluationPage(props: EvaluationProps & { creator: string | null }) {
  const { evaluation } = props;
  return (
    <Layout
      title={evaluation.name}
      crumbs={[{ label: "Evaluations", href: "/evaluations" }]}
      beside={<StateBadge state={evaluation.status} />}
      creator={props.creator}
      actions={<EvaluationActions evaluation={evaluation} />}
      live={{ jobs: [evaluation.job_id], topics: ["evaluations"] }}
    >
      <div class="stack loose">
        <EvaluationState evaluation={evaluation} />
        <Subjects evaluation={evaluation} />
        <EvaluationRows {...props} />
        <p class="small muted">
          Created <Time at={evaluation.created_at * 1000} /> by job{" "}
          <a href={`/jobs/${evaluation.job_id}`}>{evaluation.job_id}</a>. Against the expected answer, missing words are
          struck through and added ones highlighted. Tool calls are equal when name and arguments are, in any order.
        </p>
      </div>
    </Layout>
  );
}
