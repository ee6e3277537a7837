/** The plan beside the form: steps, tokens, time, memory, place and cost before anything starts. */

import { formatCount, formatInteger, formatMoney } from "../../../src/lib/text/format.ts";
import type { TrainPlan } from "../../../src/training/plan/plan.ts";
import { Icon } from "../../parts/icons.tsx";
import { KeyValue } from "../../parts/value.tsx";
import { PlanMemory } from "./plan-memory.tsx";
import { costRange, PlanOffers, timeRange } from "./plan-offers.tsx";

export interface PlanView {
  plan: TrainPlan;
}

export function Plan({ view, ready }: { view: PlanView | null; ready: boolean }) {
  const plan = view?.plan;
  const best = plan?.offers?.find((offer) => offer.fits) ?? plan?.offers?.[0];
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
                <dd>{plan.secondsRange === null ? "not known yet" : timeRange(plan.secondsRange)}</dd>
              </div>
              <div>
                <dt>Cost</dt>
                <dd>{best?.fits && best.costUsd ? costRange(best.costUsd) : formatMoney(null)}</dd>
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
