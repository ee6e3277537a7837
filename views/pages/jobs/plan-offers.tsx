/**
 * The offers of a plan: every machine with its time and cost range, and the change that makes the run fit.
 */

import { formatBytes, formatDuration, formatMoney, formatPercent, plural } from "../../../src/lib/text/format.ts";
import type { PlannedOffer } from "../../../src/training/plan/offers.ts";
import { preemptionChance, type TrainPlan } from "../../../src/training/plan/plan.ts";
import type { Suggestion } from "../../../src/training/plan/suggestions.ts";
import { Icon } from "../../parts/icons.tsx";
import { Notice } from "../../parts/notice.tsx";
import { burstWords } from "../queue/words.ts";

const mb = (value: number) => formatBytes(value * 1024 ** 2);

/** Rounds an estimate. */
function roundTime(seconds: number): number {
  if (seconds < 60) return Math.max(5, Math.round(seconds / 5) * 5);
  return seconds < 600 ? Math.round(seconds / 10) * 10 : Math.round(seconds / 60) * 60;
}

/** `5 min to 12 min`; one figure when both round to the same. */
export function timeRange([low, high]: [number, number]): string {
  const [from, to] = [formatDuration(roundTime(low)), formatDuration(roundTime(high))];
  return from === to ? from : `${from} to ${to}`;
}

export function costRange([low, high]: [number, number]): string {
  const [from, to] = [formatMoney(low), formatMoney(high)];
  return from === to ? from : `${from} to ${to}`;
}

/** A suggestion with a button that applies it to the form. */
function MakeItFit({ suggestion }: { suggestion: Suggestion }) {
  const change = new URLSearchParams(Object.entries(suggestion.change).map(([name, value]) => [name, String(value)]));
  return (
    <Notice kind="info" title="Smallest change that makes it fit">
      <p class="small">
        {suggestion.words.charAt(0).toUpperCase() + suggestion.words.slice(1)}. The run then needs{" "}
        {mb(suggestion.memoryMb)}.
      </p>
      <button type="submit" class="button" formaction="/jobs/plan" name="change" value={change.toString()}>
        <Icon name="check" />
        Apply change
      </button>
    </Notice>
  );
}

const MARKETS = { own: "", on_demand: ", on demand", spot: ", spot" } as const;

function Machine({ offer }: { offer: PlannedOffer }) {
  const devices = offer.gpus > 0 ? `${offer.gpus} x ${offer.gpuName ?? "GPU"}` : plural(offer.cpus, "CPU core");
  return (
    <>
      <span class="clip">{offer.location}</span>
      <span class="xs muted">
        {offer.title}, {devices}, {mb(offer.memoryMb)}
        {MARKETS[offer.market]}
        {offer.pricePerHour > 0 ? `, ${formatMoney(offer.pricePerHour)} per hour` : ""}
        {offer.ownCostPerHour > 0 ? `, own cost ${formatMoney(offer.ownCostPerHour)} per hour` : ""}
        {offer.alsoIn.length > 0 ? (
          <span title={offer.alsoIn.join(", ")}>, also in {plural(offer.alsoIn.length, "other place")}</span>
        ) : null}
      </span>
    </>
  );
}

function Fit({ offer }: { offer: PlannedOffer }) {
  if (!offer.fits)
    return (
      <span class="badge bad">
        <Icon name="x" />
        {offer.neededMb > offer.memoryMb ? `${mb(offer.neededMb - offer.memoryMb)} short` : "too small"}
      </span>
    );
  if (offer.out !== null)
    return (
      <span class="badge warn">
        <Icon name="x" />
        out
      </span>
    );
  return (
    <span class={offer.available ? "badge ok" : "badge"}>
      <Icon name={offer.available ? "check" : "clock"} />
      {offer.available ? "fits" : "fits, busy"}
    </span>
  );
}

/** The change that makes the run fit a machine; shortened when it is the one shown below. */
function fitsWith({ suggestion }: PlannedOffer, below: Suggestion | null): string {
  if (!suggestion) return "does not fit with any change";
  return suggestion.words === below?.words ? "fits with the change below" : `fits with: ${suggestion.words}`;
}

/** What offers are compared by: the wait, the time and the chance of preemption, and the total cost. */
function Figures({ offer }: { offer: PlannedOffer }) {
  const { waitS, totalSeconds, totalUsd } = offer;
  if (totalSeconds === null) return null;
  const chance = preemptionChance(offer);
  const figures: [string, string][] = [
    ["Wait", waitS === null ? "unknown" : waitS < 1 ? "none" : formatDuration(roundTime(waitS))],
    ["Start to end", formatDuration(roundTime(totalSeconds))],
    ["Preemption", chance ? (chance < 0.001 ? "< 0.1%" : formatPercent(chance, chance < 0.1 ? 1 : 0)) : "0%"],
    ["Total", formatMoney(totalUsd)],
  ];
  return (
    <dl class="offer-figures">
      {figures.map(([label, value]) => (
        <div>
          <dt class="xs muted">{label}</dt>
          <dd class="num small">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Whether the burst policy would choose the machine, and why not. */
function Choice({ offer }: { offer: PlannedOffer }) {
  if (offer.chosen)
    return (
      <span class="xs">
        <strong>Chosen by the burst policy</strong>
      </span>
    );
  if (!offer.fits || offer.out !== null || offer.notChosen === null) return null;
  return <span class="xs muted">Not chosen: {offer.notChosen}</span>;
}

export function PlanOffers({ plan }: { plan: TrainPlan }) {
  const { offers, unanswered } = plan;
  if (offers === null) return null;
  return (
    <section class="stack tight" aria-labelledby="plan-offers">
      <h3 id="plan-offers" class="plan-part">
        Available machines
      </h3>
      {plan.burst ? (
        <p class="small">
          {plan.burst.why}. <span class="muted">Burst policy: {burstWords(plan.burst.policy)}.</span>
        </p>
      ) : null}
      {offers.length ? (
        <ul class="plan-offers">
          {offers.map((offer) => (
            <li>
              <div>
                <Machine offer={offer} />
              </div>
              <Fit offer={offer} />
              <div class="small">
                {offer.out !== null ? <span class="xs muted">{offer.out}</span> : null}
                {offer.fits ? (
                  <>
                    <span>
                      {offer.seconds ? timeRange(offer.seconds) : "time unknown"},{" "}
                      {offer.chargeUsd ? costRange(offer.chargeUsd) : "cost unknown"}
                    </span>
                    <Figures offer={offer} />
                    <Choice offer={offer} />
                    <span class="xs muted">
                      {offer.basis === "history"
                        ? `based on ${plural(offer.runs, "finished run")}`
                        : "estimate, becomes exact after the first run there"}
                    </span>
                  </>
                ) : (
                  <span class="xs muted">{fitsWith(offer, plan.suggestion)}</span>
                )}
              </div>
            </li>
          ))}
        </ul>
      ) : (
        <p class="small muted">
          {unanswered.length ? "No provider that answered" : "No provider"} offers{" "}
          {plan.spec.need.gpus > 0 ? "such GPUs" : "a machine"} now. The job would wait.
        </p>
      )}
      {unanswered.length ? <p class="xs muted">No answer in time from {unanswered.join(", ")}.</p> : null}
      {plan.suggestion ? <MakeItFit suggestion={plan.suggestion} /> : null}
    </section>
  );
}
