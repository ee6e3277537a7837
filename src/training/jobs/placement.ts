/**
 * Scheduling options as columns of a job's row: checked against the clock, the actor's role and the current values.
 */
import { eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { teamShare } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError } from "../../errors.ts";
import { type BurstPolicy, burstPolicyOf } from "../../lib/text/burst-policy.ts";
import type { JobRow } from "./model.ts";
import type { QueueChange } from "./placement-model.ts";

type Placement = Partial<Pick<JobRow, "priority" | "startAfter" | "window" | "deadline" | "burst">>;

function refuse(code: string, message: string, param: string): never {
  throw new AppError("invalid", code, message, { param });
}

/**
 * The columns to set for a request; fields that are absent from the request stay absent.
 * @param before the current values, for checks that involve two fields
 * @throws AppError `priority_too_high` (forbidden), `deadline_passed`, `deadline_before_start`
 */
export function placementOf(ctx: Ctx, actor: Actor, change: QueueChange, before: Placement = {}): Placement {
  const placement: Placement = {};
  const now = ctx.clock.now();
  if (change.priority !== undefined) {
    placement.priority = change.priority ?? 0;
    if (placement.priority > Math.max(0, before.priority ?? 0) && actor.role !== "admin")
      throw new AppError(
        "forbidden",
        "priority_too_high",
        "Only administrators can set a priority above 0. Use -100 to 0, or ask an administrator.",
        { param: "priority" },
      );
  }
  const ms = (seconds: number | null) => (seconds === null ? null : seconds * 1000);
  if (change.not_before !== undefined) placement.startAfter = ms(change.not_before);
  if (change.window !== undefined) placement.window = change.window;
  if (change.burst !== undefined) placement.burst = change.burst;
  if (change.deadline !== undefined) {
    placement.deadline = ms(change.deadline);
    if (placement.deadline !== null && placement.deadline <= now)
      refuse("deadline_passed", "The deadline has passed. Use a time in the future.", "deadline");
  }
  const { startAfter, deadline } = { ...before, ...placement };
  if (startAfter && deadline && deadline <= startAfter)
    refuse(
      "deadline_before_start",
      "The deadline is before the earliest start of the job ('not_before'). Use a later deadline.",
      "deadline",
    );
  return placement;
}

/** The burst policy of jobs whose team has none. */
export const installationBurst = (ctx: Ctx): BurstPolicy =>
  burstPolicyOf(ctx.config.burst_policy) ?? { type: "burst", wait_over_s: 0, cost_under_usd: null };

/** The burst policy that a job follows: its own, that of its team, or that of the installation. */
export async function burstInForce(
  ctx: Ctx,
  db: Db,
  row: { org: string; burst?: BurstPolicy | null },
): Promise<BurstPolicy> {
  if (row.burst) return row.burst;
  const [team] = await db.select({ burst: teamShare.burst }).from(teamShare).where(eq(teamShare.org, row.org));
  return team?.burst ?? installationBurst(ctx);
}

/**
 * Refuses a job that asks for a provider of rented machines while its policy is own machines only.
 * @throws AppError `burst_local_only` with `param`
 */
export async function requireBurst(
  ctx: Ctx,
  org: string,
  { provider, burst }: { provider?: string | null; burst?: BurstPolicy | null },
): Promise<void> {
  if (!provider || !ctx.compute.get(provider)?.plugin.capabilities.priced) return;
  const policy = await burstInForce(ctx, ctx.db, { org, burst: burst ?? null });
  if (policy.type !== "local_only") return;
  const whose = burst ? "The burst policy of the job" : "The default burst policy";
  throw new AppError(
    "invalid",
    "burst_local_only",
    `${whose} is own machines only, and ${provider} has rented ones. Set another 'burst', or no 'provider'.`,
    { param: burst ? "burst" : "provider" },
  );
}
