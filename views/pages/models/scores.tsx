/** Before and after on a fine-tuned model's page: the evaluation on the validation rows of its own training. */
import type { EvaluateResult } from "../../../src/contract/spec.ts";
import { formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { LineageView } from "../../../src/models/tuned/model.ts";
import { ActionButton } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { Stat, Stats } from "../../parts/value.tsx";

/** Whether a side is a reward model's: it writes no answers, so it has no tokens. */
const scoresOnly = (side: NonNullable<EvaluateResult["tuned"]>) => side.tokens === 0;

export function Headline({ base, tuned }: EvaluateResult) {
  if (!tuned) return null;
  return (
    <Stats>
      {tuned.preference ? (
        <Stat label="Better answer preferred" big note={`base: ${formatPercent(base.preference?.mean)}`}>
          {formatPercent(tuned.preference.mean)}
        </Stat>
      ) : (
        <Stat label="Exact match on validation rows" big note={`base: ${formatPercent(base.exact_match.mean)}`}>
          {formatPercent(tuned.exact_match.mean)}
        </Stat>
      )}
      <Stat label="Loss" note={scoresOnly(tuned) ? "pairwise loss" : `base: ${formatNumber(base.loss.mean)}`}>
        {formatNumber(tuned.loss.mean)}
      </Stat>
      {scoresOnly(tuned) ? null : (
        <Stat label="Token accuracy" note={`base: ${formatPercent(base.token_accuracy.mean)}`}>
          {formatPercent(tuned.token_accuracy.mean)}
        </Stat>
      )}
    </Stats>
  );
}

function BeforeAfter({ result }: { result: EvaluateResult }) {
  const { base, tuned } = result;
  if (!tuned) return null;
  const rows = [
    tuned.preference
      ? {
          name: "Better answer preferred",
          base: formatPercent(base.preference?.mean),
          tuned: formatPercent(tuned.preference.mean),
        }
      : null,
    ...(scoresOnly(tuned)
      ? [{ name: "Pairwise loss", base: "–", tuned: formatNumber(tuned.loss.mean) }]
      : [
          {
            name: "Exact match",
            base: formatPercent(base.exact_match.mean),
            tuned: formatPercent(tuned.exact_match.mean),
          },
          {
            name: "Token accuracy",
            base: formatPercent(base.token_accuracy.mean),
            tuned: formatPercent(tuned.token_accuracy.mean),
          },
          { name: "Loss", base: formatNumber(base.loss.mean), tuned: formatNumber(tuned.loss.mean) },
          { name: "Perplexity", base: formatNumber(base.perplexity), tuned: formatNumber(tuned.perplexity) },
        ]),
  ].filter((row) => row !== null);
  return (
    <Table
      still
      label="Before and after"
      rows={rows}
      rowId={(row) => row.name}
      columns={[
        { key: "name", label: "On validation rows", name: true, render: (row) => row.name },
        { key: "base", label: "Base", end: true, render: (row) => row.base },
        { key: "tuned", label: "Fine-tuned", end: true, render: (row) => <strong>{row.tuned}</strong> },
      ]}
    />
  );
}

/** The evaluation of a model on the validation rows of its own training: before and after. */
export const ownOf = (lineage: LineageView): LineageView["evaluations"][number] | undefined => {
  const own = lineage.evaluations.filter((row) => row.own && row.against === null && row.model === lineage.model);
  return own.find((row) => row.result) ?? own[0];
};

export function Scores({ lineage }: { lineage: LineageView }) {
  const evaluation = ownOf(lineage);
  const graded = lineage.method === "grpo";
  return (
    <section class="panel">
      <header>
        <h2>Before and after</h2>
        {evaluation ? (
          <a class="button small" href={`/evaluations/${evaluation.id}`}>
            View answers
          </a>
        ) : null}
      </header>
      {evaluation?.result ? (
        <BeforeAfter result={evaluation.result} />
      ) : (
        <Empty
          slim
          icon="scale"
          title={evaluation ? "Evaluation is running" : graded ? "Scored by its grader" : "Not evaluated yet"}
          action={
            evaluation ? (
              <a class="button" href={`/evaluations/${evaluation.id}`}>
                View evaluation
              </a>
            ) : graded ? (
              lineage.job && (
                <a class="button" href={`/jobs/${lineage.job.id}`}>
                  View rewards
                </a>
              )
            ) : (
              <ActionButton action="/evaluations" fields={{ model: lineage.model }}>
                Evaluate before and after
              </ActionButton>
            )
          }
        >
          {graded
            ? "Prompts have no expected answers to compare with. The job's page shows the rewards on validation rows."
            : "The base model and the fine-tuned model answer the validation rows side by side."}
        </Empty>
      )}
    </section>
  );
}
