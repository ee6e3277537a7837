/** Offers at which a job may start: before work begins on another machine, its trainer must be able to call home. */
import { homeProblem } from "../../compute/providers/call-home.ts";
import type { Ctx } from "../../ctx.ts";
import type { JobRow } from "../jobs/model.ts";
import { keptHere, keptHereMessage } from "../jobs/stays-local.ts";
import type { Candidate } from "./candidates.ts";
import { isElsewhere, neverCalled } from "./first-contact.ts";

/** Whether an offer is on another machine than the server. */
export const offersElsewhere = (ctx: Ctx, { plugin, offer }: Candidate): boolean =>
  isElsewhere(ctx, { provider: plugin.id, offer });

/**
 * The candidates in their order, those last whose machine never called home for this job; without those elsewhere while
 * the address for trainers does not answer, or when data of the job stays here, and then why.
 */
export async function reachable(ctx: Ctx, row: JobRow, candidates: readonly Candidate[]) {
  const here = candidates.filter((one) => !offersElsewhere(ctx, one));
  if (here.length === candidates.length) return { candidates: here, unreachable: null };
  const kept = await keptHere(ctx.db, row.spec, row);
  if (kept.any) return { candidates: here, unreachable: keptHereMessage(kept) };
  const problem = await homeProblem(ctx);
  if (problem)
    return {
      candidates: here,
      unreachable: `Trainers on other machines could not call home. ${problem.message} ${problem.remedy}`,
    };
  const silent = row.attempts > 0 ? await neverCalled(ctx, row.id) : [];
  const wasSilent = ({ plugin, offer }: Candidate) =>
    silent.some((one) => one.provider === plugin.id && one.offer === offer.id);
  return {
    candidates: [...candidates.filter((one) => !wasSilent(one)), ...candidates.filter(wasSilent)],
    unreachable: null,
  };
}
