/**
 * The order in which offers are tried: by the predicted total cost of the job on each, not by the price per hour; and
 * which of them its burst policy allows.
 */
import { availableParallelism } from "node:os";
import { ownGpuCosts } from "../../compute/limits/service.ts";
import type { Ctx } from "../../ctx.ts";
import { sortedBy } from "../../lib/sorted.ts";
import { formatMoney } from "../../lib/text/format.ts";
import type { JobRow } from "../jobs/model.ts";
import { burstInForce } from "../jobs/placement.ts";
import { preemptionRates } from "../jobs/preemptions.ts";
import { hardwareOf, pastRuns } from "../plan/history.ts";
import { estimateSeconds, expectedSpeed, tokensOf } from "../plan/throughput.ts";
import { launchOrder, machineOf, rentsAtOnce } from "../scheduler/burst.ts";
import { totalCost } from "../scheduler/total-cost.ts";
import type { Candidate } from "./candidates.ts";

/** Offers are compared by an hour where nothing is known about the duration. */
const UNKNOWN_S = 3600;

type On = Pick<Candidate, "plugin" | "offer">;
type Length = (on: On) => { seconds: number; saveEveryS: number | null };

/** How long the rest of a job takes on an offer: of a training by the GPU there, of other work the same everywhere. */
async function lengthOf(ctx: Ctx, row: JobRow): Promise<Length> {
  const { spec, estimateLowS: low, estimateHighS: high } = row;
  if (spec.kind === "serve") return () => ({ seconds: UNKNOWN_S, saveEveryS: 0 });
  const rest = 1 - Math.min(1, Math.max(0, row.progress.fraction ?? 0));
  if (spec.kind !== "train" || low === null || high === null)
    return () => ({
      seconds: low === null || high === null ? UNKNOWN_S : ((low + high) / 2) * rest,
      saveEveryS: null,
    });
  const past = await pastRuns(ctx, row.org, spec.base_model.id);
  // The estimate was made for an unknown machine: see `price`.
  const tokens = tokensOf([low, high], past, spec, availableParallelism());
  const { total_steps: steps, save_every: every } = spec.schedule;
  return ({ plugin, offer }) => {
    const on = { cpus: offer.cpus, gpus: spec.need.gpus, gpuName: offer.gpuName };
    const speed = expectedSpeed(past, spec, hardwareOf(plugin.id, offer), on);
    const whole = estimateSeconds(tokens, speed) ?? UNKNOWN_S;
    const saveEveryS = every ? (whole * every) / Math.max(1, steps) : null;
    return { seconds: whole * rest, saveEveryS };
  };
}

/**
 * What the rest of a job costs in all on a machine, and the seconds from launch to end. Own GPUs cost what the
 * installation says.
 */
export async function predictionsFor(ctx: Ctx, row: JobRow) {
  const [rates, length, ownCosts] = await Promise.all([preemptionRates(ctx), lengthOf(ctx, row), ownGpuCosts(ctx)]);
  return (one: On) => {
    const { startsInS, market } = one.offer;
    const perHour = rates(one.plugin.id, market);
    const pricePerHour = one.offer.pricePerHour + (ownCosts.get(one.plugin.id) ?? 0) * row.spec.need.gpus;
    return totalCost({ pricePerHour, startsInS, perHour, ...length(one) });
  };
}

/** A machine as the burst policy compares it, apart from the wait for it. */
export const machineOption = ({ plugin, offer }: On) => ({
  rented: plugin.capabilities.priced,
  title: plugin.title,
  spot: offer.market === "spot",
  machine: machineOf(plugin.id, offer),
});

/**
 * The candidates that the burst policy of a job allows, in its order; and why there is none, when it excludes them all.
 */
export async function byBurstPolicy(ctx: Ctx, row: JobRow, candidates: readonly Candidate[]) {
  const policy = await burstInForce(ctx, ctx.db, row);
  const rented = candidates.filter(({ plugin }) => plugin.capabilities.priced);
  if (rented.length === 0 || rentsAtOnce(policy)) return { candidates: [...candidates], excluded: null };
  const predict = await predictionsFor(ctx, row);
  const options = candidates.map((candidate) => ({
    ...machineOption(candidate),
    ...predict(candidate),
    candidate,
  }));
  const allowed = launchOrder(policy, options, row.attempts > 0);
  const [cheapest] = options.filter((one) => one.rented).sort((a, b) => a.usd - b.usd);
  const excluded =
    allowed.length > 0
      ? null
      : policy.type === "burst" && cheapest
        ? `About ${formatMoney(cheapest.usd)} at ${cheapest.title} is not below the burst policy's ${formatMoney(policy.cost_under_usd)}`
        : "Its burst policy is own machines only";
  return { candidates: allowed.map(({ candidate }) => candidate), excluded };
}

/**
 * The same candidates, those first on which the rest of the job costs least in total, then by start and size. Own
 * machines come before rented ones: only the policy `cheapest` counts what they cost. A spot machine comes before one
 * on demand only where it is cheaper with the work that preemption repeats.
 */
export async function byTotalCost(ctx: Ctx, row: JobRow, candidates: readonly Candidate[]): Promise<Candidate[]> {
  const paid = candidates.some(({ offer }) => offer.pricePerHour > 0);
  const predict = paid ? await predictionsFor(ctx, row) : null;
  const costOf = (one: Candidate): number => (predict === null || one.offer.pricePerHour === 0 ? 0 : predict(one).usd);
  return sortedBy(candidates, (one) => {
    const { startsInS, gpuMemoryMb, memoryMb } = one.offer;
    return [costOf(one), startsInS, gpuMemoryMb, memoryMb];
  });
}
