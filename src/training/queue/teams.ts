/** The teams that share the queue: their share weight, their limits and what they use now. */
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization } from "../../db/schema/auth.ts";
import { teamShare } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { requirePermission } from "../../roles.ts";
import { installationBurst } from "../jobs/placement.ts";
import type { Input } from "../scheduler/types.ts";
import type { ChangeTeamBurst, ShareChange, TeamBurst } from "./model.ts";
import { invalidateRound, queueCarry } from "./runner.ts";

export interface TeamView {
  id: string;
  name: string;
  weight: number;
  /** GPU-hours, with older usage counting less. */
  used: number;
  usedThisMonth: number;
  maxGpus: number | null;
  monthGpuHours: number | null;
  /** Its own burst policy; null = that of the installation. */
  burst: BurstPolicy | null;
  /** The team cannot change it itself. */
  burstLocked: boolean;
  gpusNow: number;
  running: number;
  waiting: number;
}

/** The actor's own team, or all teams for administrators. `names` has every team's name by id. */
export async function teamsOf(
  ctx: Ctx,
  actor: Actor,
  input: Input,
  names: ReadonlyMap<string, string>,
): Promise<TeamView[]> {
  const shares = new Map((await ctx.db.select().from(teamShare)).map((row) => [row.org, row]));
  const ids = new Set([actor.org, ...(actor.role === "admin" ? [...names.keys()] : [])].filter((id) => names.has(id)));
  const teams = new Map(input.teams.map((team) => [team.id, team]));
  return [...ids].map((id) => {
    const team = teams.get(id);
    const running = input.running.filter((one) => one.job.team === id);
    return {
      id,
      name: names.get(id) ?? id,
      weight: shares.get(id)?.weight ?? 1,
      used: team?.used ?? 0,
      usedThisMonth: team?.usedThisMonth ?? 0,
      maxGpus: shares.get(id)?.maxGpus ?? null,
      monthGpuHours: shares.get(id)?.monthGpuHours ?? null,
      burst: shares.get(id)?.burst ?? null,
      burstLocked: shares.get(id)?.burstLocked ?? false,
      gpusNow: running.reduce((sum, one) => sum + one.job.wants.gpus, 0),
      running: running.length,
      waiting: input.queued.filter((one) => one.team === id).length,
    };
  });
}

/** Sets a team's share weight and limits. Administrators only; audited. */
export async function setShare(ctx: Ctx, actor: Actor, org: string, change: ShareChange): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, org));
    if (!found) throw notFound("organization", org.slice(0, 100));
    const set = {
      ...(change.weight === undefined ? {} : { weight: change.weight }),
      ...(change.max_gpus === undefined ? {} : { maxGpus: change.max_gpus }),
      ...(change.gpu_hours_per_month === undefined ? {} : { monthGpuHours: change.gpu_hours_per_month }),
      ...(change.burst === undefined ? {} : { burst: change.burst }),
      ...(change.burst_locked === undefined ? {} : { burstLocked: change.burst_locked }),
      updatedAt: ctx.clock.now(),
    };
    await tx
      .insert(teamShare)
      .values({ org, ...set })
      .onConflictDoUpdate({ target: teamShare.org, set });
    await audit(tx, ctx, actor, "team.share", org, { ...change });
  });
  decideAgain(ctx);
}

/** Shares or policies changed: waiting jobs are decided again. */
function decideAgain(ctx: Ctx): void {
  const carry = queueCarry(ctx);
  carry.verdicts.clear();
  invalidateRound(carry);
  ctx.bus.emit("hosts.changed", { ids: [] });
}

const shareOf = async (db: Db, org: string) =>
  (await db.select().from(teamShare).where(eq(teamShare.org, org)).limit(1))[0];

/** The burst policy of the actor's own team. */
export async function readTeamBurst(ctx: Ctx, actor: Actor): Promise<TeamBurst> {
  requirePermission(actor, "team.manage");
  const share = await shareOf(ctx.db, actor.org);
  const { burst = null, burstLocked: locked = false } = share ?? {};
  return { object: "team_burst", burst, installation: installationBurst(ctx), locked };
}

/**
 * Sets the burst policy of the actor's own team; null returns to that of the installation. Audited.
 * @throws AppError `burst_locked`
 */
export async function setTeamBurst(ctx: Ctx, actor: Actor, { burst }: ChangeTeamBurst): Promise<void> {
  requirePermission(actor, "team.manage");
  await ctx.write(async (tx) => {
    if ((await shareOf(tx, actor.org))?.burstLocked && actor.role !== "admin")
      throw new AppError(
        "forbidden",
        "burst_locked",
        "An administrator of the installation set the burst policy of this team, and keeps it. Ask there for another one.",
        { param: "burst" },
      );
    const set = { burst, updatedAt: ctx.clock.now() };
    await tx
      .insert(teamShare)
      .values({ org: actor.org, ...set })
      .onConflictDoUpdate({ target: teamShare.org, set });
    await audit(tx, ctx, actor, "team.burst", actor.org, { burst });
  });
  decideAgain(ctx);
}
