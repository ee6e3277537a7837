/** What came out of a job: the model or the files with the next steps, and the evaluation that followed a training. */

import type { VNode } from "preact";
import { isEvaluateResult } from "../../../src/contract/job.ts";
import type { EvaluateResult, TrainSpec } from "../../../src/contract/spec.ts";
import { formatNumber, formatPercent } from "../../../src/lib/text/format.ts";
import type { ExportView } from "../../../src/training/exports/model.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { usePage } from "../../context.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { Progress } from "../../parts/value.tsx";
import { ExportResult } from "../models/export-files.tsx";
import { activityOf, isLive, methodOf, progressOf } from "./describe.ts";

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

export interface JobOutcomeProps {
  job: JobRow;
  /** The newest evaluation of this run on its own validation rows. */
  evaluation: JobRow | null;
  /** Id of the fine-tuned model, once it exists. */
  model: string | null;
  modelDeleted: boolean;
  /** Its files, for an export. */
  exported: ExportView | null;
}

/** The model of a training that succeeded, and what to do with it next. */
function Model({ job, model, modelDeleted }: JobOutcomeProps) {
  if (!model) return null;
  if (modelDeleted)
    return (
      <section class="panel body-only">
        <p class="muted wrap-any">The model {model} was deleted.</p>
      </section>
    );
  const id = encodeURIComponent(model);
  const spec = job.spec as TrainSpec;
  return (
    <section class="panel" aria-labelledby="result-title">
      <header>
        <h2 id="result-title">Model</h2>
      </header>
      <div class="body stack tight">
        <a class="wrap-any mono small" href={`/models/${id}`}>
          {model}
        </a>
        <div class="row">
          <RoleLink
            class="button small"
            href={`/evaluations/new?${new URLSearchParams({ model, dataset: spec.dataset.version_id })}`}
          >
            Evaluate
          </RoleLink>
          <a class="button small" href={`/models/${id}#exports`}>
            Export
          </a>
          {methodOf(job) === "reward" ? null : (
            <RoleLink class="button small" href={`/playground?models=${id}`}>
              Chat
            </RoleLink>
          )}
        </div>
      </div>
    </section>
  );
}

/** Files of an export, or where the result of another job is. */
function Files({ job, exported }: JobOutcomeProps) {
  if (job.kind === "evaluate")
    return (
      <p>
        <a class="button" href={`/evaluations/${encodeURIComponent(job.id)}`}>
          View evaluation
        </a>
      </p>
    );
  if (!exported) return null;
  return (
    <section class="panel" aria-labelledby="files-title">
      <header>
        <h2 id="files-title">Files</h2>
      </header>
      <div class="body stack">
        {exported.artifact_id ? (
          <ExportResult row={exported} />
        ) : (
          <p class="muted">
            {exported.state === "deleted"
              ? "The files were deleted."
              : isLive(job.state)
                ? "The files appear here once they were compared with the trained model."
                : "Nothing was published."}
          </p>
        )}
      </div>
    </section>
  );
}

/** What came out of the job so far. */
export function JobOutcome(props: JobOutcomeProps): VNode {
  const { url } = usePage();
  const { evaluation } = props;
  const spec = evaluation?.spec;
  const result = evaluation?.state === "succeeded" && isEvaluateResult(evaluation.result) ? evaluation.result : null;
  return (
    <div id="job-outcome" class="stack" {...liveOn(url, "jobs")}>
      <Model {...props} />
      <Files {...props} />
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
