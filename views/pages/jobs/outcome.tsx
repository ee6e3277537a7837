/** Results before and after training on a job's page: a summary of the evaluation that followed it. */

import type { VNode } from "preact";
import { isEvaluateResult } from "../../../src/contract/job.ts";
import type { EvaluateResult } from "../../../src/contract/spec.ts";
import { formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { usePage } from "../../context.ts";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { Progress } from "../../parts/value.tsx";
import { activityOf, progressOf } from "./describe.ts";

function Measure(props: { label: string; before: string; after: string }) {
  return (
    <div>
      <dt>{props.label}</dt>
      <dd>
        <span class="muted">{props.before}</span>
        <span class="visually-hidden"> before, after </span>
        <Icon name="right" />
        {props.after}
      </dd>
    </div>
  );
}

function Result({ base, tuned, texts }: EvaluateResult & { texts: boolean }) {
  if (!tuned) return null;
  return (
    <dl class="before-after">
      {tuned.preference ? (
        <Measure
          label="Preference accuracy"
          before={formatPercent(base.preference?.mean)}
          after={formatPercent(tuned.preference.mean)}
        />
      ) : texts ? (
        <Measure label="Perplexity" before={formatNumber(base.perplexity)} after={formatNumber(tuned.perplexity)} />
      ) : (
        <Measure
          label="Exact match"
          before={formatPercent(base.exact_match.mean)}
          after={formatPercent(tuned.exact_match.mean)}
        />
      )}
      {/* A reward model generates no tokens, so it has no token metrics. */}
      {tuned.tokens > 0 ? (
        <>
          <Measure
            label="Token accuracy"
            before={formatPercent(base.token_accuracy.mean)}
            after={formatPercent(tuned.token_accuracy.mean)}
          />
          <Measure label="Loss" before={formatNumber(base.loss.mean)} after={formatNumber(tuned.loss.mean)} />
        </>
      ) : null}
    </dl>
  );
}

/** Empty while there is no evaluation. */
export function JobOutcome({ evaluation }: { evaluation: JobRow | null }): VNode {
  const { url } = usePage();
  const spec = evaluation?.spec;
  const result = evaluation?.state === "succeeded" && isEvaluateResult(evaluation.result) ? evaluation.result : null;
  return (
    <div id="job-outcome" {...liveOn(url, "jobs")}>
      {evaluation ? (
        <section class="panel" aria-labelledby="outcome-title">
          <header>
            <h2 id="outcome-title">Before and after</h2>
            {result ? null : <StateBadge state={evaluation.state} />}
            <a class="button small" href={`/evaluations/${encodeURIComponent(evaluation.id)}`}>
              {result ? "All answers" : "Details"}
            </a>
          </header>
          <div class="body">
            {result ? (
              <Result {...result} texts={spec?.kind === "evaluate" && spec.dataset.row_type === "text"} />
            ) : evaluation.state === "failed" ? (
              <p class="bad-text">{evaluation.error?.message}</p>
            ) : (
              <Progress
                label="Progress of the evaluation"
                fraction={progressOf(evaluation).fraction ?? 0}
                left={activityOf(evaluation)}
              />
            )}
          </div>
        </section>
      ) : null}
    </div>
  );
}
