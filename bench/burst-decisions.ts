/** A burst policy in simulated weeks: the server's marks, forecast and decision, in its order. */
import type { BurstPolicy } from "../src/lib/text/burst-policy.ts";
import { burstMarkOf, mayLeave, type Verdict } from "../src/training/queue/burst.ts";
import { ownInput, waitSeconds } from "../src/training/queue/own-wait.ts";
import { decideBurst, type Option } from "../src/training/scheduler/burst.ts";
import { predict } from "../src/training/scheduler/forecast.ts";
import { schedule } from "../src/training/scheduler/round.ts";
import type { Input, Job, Round } from "../src/training/scheduler/types.ts";
import type { Policy } from "../test/support/cluster.ts";

/** How long a decision to stay holds; the server's 15 s would take hours of forecasts. */
const HOLDS_MS = 10 * 60_000;
/** Jobs that may rent in one round of the scheduler. */
const ASKS = 8;

/**
 * @param ownCosts own machines have a cost in comparisons
 * @param placesFor every place for a job, own machines with an unknown wait
 */
export function bursting(burst: BurstPolicy, ownCosts: boolean, placesFor: (job: Job) => Option[]) {
  const verdicts = new Map<string, Verdict>();
  const counts = { decided: 0, forecasts: 0 };

  /** Decides for the jobs that wait. @returns whether one may now start elsewhere */
  function decide(input: Input, round: Round): boolean {
    const due = input.queued.filter(
      (one) => mayLeave(one, burst, round.waits.get(one.id)) && (verdicts.get(one.id)?.until ?? 0) <= input.now,
    );
    if (due.length === 0) return false;
    counts.decided += due.length;
    // The cheapest place does not depend on the wait.
    if (burst.type !== "cheapest") counts.forecasts++;
    const waits = burst.type === "cheapest" ? new Map() : predict(ownInput(input), round.order);
    let moved = false;
    for (const one of due) {
      const waitS = waitSeconds(waits.get(one.id), input.now);
      const places = placesFor(one).map((place) => (place.rented ? place : { ...place, waitS }));
      const { leaves, why } = decideBurst(burst, places, "own GPUs");
      moved ||= leaves !== verdicts.get(one.id)?.leaves;
      verdicts.set(one.id, { until: input.now + HOLDS_MS, leaves, text: why, why });
    }
    return moved;
  }

  const policy: Policy = (input) => {
    for (;;) {
      const queued = input.queued.map((one) => ({
        ...one,
        ...burstMarkOf(one, burst, verdicts.get(one.id), { rents: true, ownCosts }),
      }));
      const marked = { ...input, queued };
      const round = schedule(marked);
      if (decide(marked, round)) continue;
      const rents = round.starts.filter(({ gpus }) => gpus.length === 0).length;
      const asksAgain = rents >= ASKS ? input.now + 1000 : input.now + HOLDS_MS;
      const waits = input.queued.length > round.starts.length;
      return waits ? { ...round, nextAt: Math.min(round.nextAt ?? asksAgain, asksAgain) } : round;
    }
  };
  return { policy, counts };
}
