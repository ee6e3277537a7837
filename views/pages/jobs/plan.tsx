/** The plan beside the form: steps, tokens, time, memory, place and cost before anything starts. */

import type { TrainPlan } from "../../../src/jobs/model.ts";
import { formatBytes, formatCount, formatDuration, formatInteger, formatMoney } from "../../../src/lib/format.ts";
import { Icon } from "../../parts/icons.tsx";
import { KeyValue } from "../../parts/value.tsx";

export interface PlanView {
  plan: TrainPlan;
  /** Machine or provider it would run on. */
  where: string | null;
  costUsd: number | null;
}

export function Plan({ view, ready }: { view: PlanView | null; ready: boolean }) {
  const plan = view?.plan;
  return (
    <section class="panel" id="plan" aria-labelledby="plan-title" aria-live="polite">
      <header>
        <h2 id="plan-title">Plan</h2>
        <span class="badge run turning htmx-indicator">
          <Icon name="turning" />
          Working it out
        </span>
      </header>
      <div class="body stack">
        {plan ? (
          <>
            <dl class="plan-figures">
              <div>
                <dt>Time</dt>
                <dd>{plan.seconds === null ? "not known yet" : `about ${formatDuration(roundTime(plan.seconds))}`}</dd>
              </div>
              <div>
                <dt>Cost</dt>
                <dd>{formatMoney(view?.costUsd)}</dd>
              </div>
            </dl>
            {plan.ready ? null : (
              <p class="small muted">The data is still being checked; steps and time follow when it is done.</p>
            )}
            <KeyValue
              rows={[
                ["Steps", <span class="num">{formatInteger(plan.steps)}</span>],
                [
                  "Rows",
                  <span class="num">{formatInteger(plan.spec.dataset.train_rows)}</span>,
                  plan.spec.dataset.holdout_rows
                    ? `and ${formatInteger(plan.spec.dataset.holdout_rows)} held out to judge by`
                    : undefined,
                ],
                [
                  "Tokens",
                  plan.tokens === null ? null : <span class="num">{formatCount(plan.tokens)}</span>,
                  plan.tokensExact ? undefined : "estimated from the first rows",
                ],
                ["Memory", <span class="num">{formatBytes(plan.memoryMb * 1024 ** 2)}</span>],
                ["Runs on", view?.where],
                [
                  "Estimate",
                  plan.secondsBasis === "history" ? "from your own finished runs" : "from a measured default",
                ],
              ]}
            />
            {plan.warnings.map((warning) => (
              <p class="row fixed top-aligned warn-text small">
                <Icon name="warn" />
                <span>{warning}</span>
              </p>
            ))}
          </>
        ) : (
          <p class="muted">
            {ready
              ? "Mend what is marked, and the plan appears here."
              : "Choose data and a base model: steps, tokens, time and cost appear here before anything starts."}
          </p>
        )}
        <button type="submit" class="button primary block" disabled={!plan}>
          <Icon name="play" />
          Start job
        </button>
        <button type="submit" class="button block only-without-script" formaction="/jobs/plan">
          Work out the plan
        </button>
        <p class="xs muted">You can close the page once it runs; it goes on.</p>
      </div>
    </section>
  );
}

/** Estimates are not exact to the second. */
function roundTime(seconds: number): number {
  if (seconds < 60) return Math.max(5, Math.round(seconds / 5) * 5);
  return seconds < 600 ? Math.round(seconds / 10) * 10 : Math.round(seconds / 60) * 60;
}
