/** The plan beside the form: steps, tokens, time, memory, place and cost before anything starts. */
import { formatBytes, formatCount, formatDuration, formatInteger, formatMoney } from "../../../src/lib/format.ts";
import { Icon } from "../../parts/icons.tsx";
import { KeyValue } from "../../parts/value.tsx";

export interface PlanView {
  /** What every `auto` became, by field name, as text. */
  resolved: Record<string, string>;
  steps: number | null;
  trainRows: number | null;
  holdoutRows: number | null;
  /** Tokens the run goes through, all epochs. */
  tokens: number | null;
  /** Estimated; null = no basis for an estimate. */
  seconds: number | null;
  memoryMb: number | null;
  where: string | null;
  costUsd: number | null;
  rowsCut: number | null;
  /** Things worth knowing that do not stop the job. */
  warnings: string[];
  /** True when nothing stands in the way. */
  startable: boolean;
}

export function Plan({ plan, ready }: { plan: PlanView | null; ready: boolean }) {
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
                <dd>{plan.seconds === null ? "unknown" : `about ${formatDuration(roundTime(plan.seconds))}`}</dd>
              </div>
              <div>
                <dt>Cost</dt>
                <dd>{formatMoney(plan.costUsd)}</dd>
              </div>
            </dl>
            <KeyValue
              rows={[
                ["Steps", <span class="num">{formatInteger(plan.steps)}</span>],
                [
                  "Rows",
                  <span class="num">{formatInteger(plan.trainRows)}</span>,
                  plan.holdoutRows ? `and ${formatInteger(plan.holdoutRows)} held out to judge by` : undefined,
                ],
                ["Tokens", <span class="num">{formatCount(plan.tokens)}</span>],
                [
                  "Memory",
                  plan.memoryMb === null ? null : <span class="num">{formatBytes(plan.memoryMb * 1024 ** 2)}</span>,
                ],
                ["Runs on", plan.where],
              ]}
            />
            {plan.rowsCut ? (
              <p class="warn-text small">
                {formatInteger(plan.rowsCut)} rows are longer than the longest row and will be cut.
              </p>
            ) : null}
            {plan.warnings.map((warning) => (
              <p class="warn-text small">{warning}</p>
            ))}
          </>
        ) : (
          <p class="muted">
            {ready
              ? "Mend what is marked, and the plan appears here."
              : "Choose data and a base model: steps, tokens, time and cost appear here before anything starts."}
          </p>
        )}
        <button type="submit" class="button primary block" disabled={!plan?.startable}>
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
