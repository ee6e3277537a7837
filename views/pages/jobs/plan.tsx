/** The plan beside the form: steps, tokens, time, cost, memory and machines. */

import { validationRows } from "../../../src/contract/spec.ts";
import { formatCount, formatDate, formatInteger, formatMoney } from "../../../src/lib/text/format.ts";
import type { TrainPlan } from "../../../src/training/plan/plan.ts";
import { Icon } from "../../parts/icons.tsx";
import { KeyValue } from "../../parts/value.tsx";
import { validationWords } from "./describe.ts";
import { PlanMemory } from "./plan-memory.tsx";
import { costRange, PlanOffers, timeRange } from "./plan-offers.tsx";

export interface PlanView {
  plan: TrainPlan;
}

/** The page of the data, with what the base model does to its rows. */
function rowsOf({ spec: { dataset, base_model: base } }: TrainPlan): string {
  return `/datasets/${dataset.dataset_id}?${new URLSearchParams({ version: dataset.version_id, base: base.id })}#findings`;
}

/** Which prices the cost is computed with. */
function PricesNote({ lists: { org, base } }: Pick<TrainPlan, "lists">) {
  const since = org?.effectiveAt ?? base?.effectiveAt;
  if (since === undefined) return null;
  return (
    <p class="xs muted">
      At the{" "}
      <a href="/pricing">
        prices{org ? " of your team" : ""} since {formatDate(since)}
      </a>
      , before free allowances. The job keeps them.
    </p>
  );
}

export function Plan({ view, ready }: { view: PlanView | null; ready: boolean }) {
  const plan = view?.plan;
  const best = plan?.offers?.find((offer) => offer.fits && offer.out === null) ?? plan?.offers?.[0];
  return (
    <section class="panel" id="plan" aria-labelledby="plan-title" aria-live="polite">
      <header>
        <h2 id="plan-title">Plan</h2>
        <span class="badge run turning htmx-indicator">
          <Icon name="turning" />
          Updating the plan
        </span>
      </header>
      <div class="body stack">
        {plan ? (
          <>
            <dl class="plan-figures">
              <div>
                <dt>Time</dt>
                <dd>{plan.secondsRange === null ? "unknown" : timeRange(plan.secondsRange)}</dd>
              </div>
              <div>
                <dt>Cost</dt>
                <dd>
                  {plan.costUsd ? costRange(plan.costUsd) : formatMoney(null)}
                  {plan.maxCostUsd === null ? null : (
                    <span class="sub">{`at most ${formatMoney(plan.maxCostUsd)}`}</span>
                  )}
                </dd>
              </div>
            </dl>
            <PricesNote lists={plan.lists} />
            {plan.ready ? null : (
              <p class="small muted">The data is being validated. Steps and time follow afterwards.</p>
            )}
            <KeyValue
              rows={[
                ["Steps", <span class="num">{formatInteger(plan.steps)}</span>],
                [
                  "Rows",
                  <span class="num">{formatInteger(plan.spec.dataset.train_rows)}</span>,
                  validationRows(plan.spec) ? `and ${validationWords(plan.spec)}` : undefined,
                ],
                [
                  "Tokens",
                  plan.tokens === null ? null : <span class="num">{formatCount(plan.tokens)}</span>,
                  plan.tokensExact ? undefined : "estimated from the first rows",
                ],
              ]}
            />
            <PlanMemory plan={plan} roomMb={best?.memoryMb ?? null} />
            <PlanOffers plan={plan} />
            {plan.warnings.map((warning) => (
              <p class="row fixed top-aligned warn-text small">
                <Icon name="warn" />
                <span>{warning}</span>
              </p>
            ))}
            {plan.findings.length ? (
              <p class="small">
                <a href={rowsOf(plan)}>See these rows</a>
              </p>
            ) : null}
          </>
        ) : (
          <p class="muted">
            {ready
              ? "Fix the marked fields to see the plan."
              : "Choose data and a base model to see steps, tokens, time and cost before you start the job."}
          </p>
        )}
        <button type="submit" class="button primary block" disabled={!plan}>
          <Icon name="play" />
          Start job
        </button>
        <button type="submit" class="button block only-without-script" formaction="/jobs/plan">
          Update the plan
        </button>
        <p class="xs muted">The job keeps running when you close this page.</p>
      </div>
    </section>
  );
}
