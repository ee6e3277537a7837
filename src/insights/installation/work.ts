/** What the server does in the background now, and which licenses were accepted by whom. */
import { desc, eq, inArray, isNull, sql } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { organization, user } from "../../db/schema/auth.ts";
import { datasetVersion } from "../../db/schema/datasets.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { baseModel, licenseAcceptance } from "../../db/schema/models.ts";

const MAX_ROWS = 200;

/** Numbers of all teams. */
export interface BackgroundWork {
  /** Attempts by kind of job. */
  running: { kind: string; count: number }[];
  waiting: number;
  validating: number;
  installing: number;
}

/** What runs and waits now. Administrators only. */
export async function readWork(ctx: Ctx, actor: Actor): Promise<BackgroundWork> {
  requireAdmin(actor);
  const count = sql<number>`count(*)`;
  const running = await ctx.db
    .select({ kind: job.kind, count })
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(isNull(attempt.goneAt))
    .groupBy(job.kind);
  const [waiting] = await ctx.db
    .select({ count })
    .from(job)
    .where(inArray(job.state, ["validating", "queued"]));
  const [validating] = await ctx.db
    .select({ count })
    .from(datasetVersion)
    .where(eq(datasetVersion.status, "validating"));
  const [installing] = await ctx.db.select({ count }).from(baseModel).where(eq(baseModel.status, "installing"));
  return {
    running,
    waiting: waiting?.count ?? 0,
    validating: validating?.count ?? 0,
    installing: installing?.count ?? 0,
  };
}

/** A license that someone accepted for their team. Time in milliseconds since 1970. */
export interface AcceptanceRow {
  id: string;
  model: string;
  license: string;
  team: string;
  /** E-mail address; null for a deleted user. */
  by: string | null;
  at: number;
}

/** Accepted licenses of all teams, newest first. Administrators only. */
export async function listAcceptances(ctx: Ctx, actor: Actor): Promise<AcceptanceRow[]> {
  requireAdmin(actor);
  return ctx.db
    .select({
      id: licenseAcceptance.id,
      model: licenseAcceptance.baseModelId,
      license: licenseAcceptance.license,
      team: sql<string>`coalesce(${organization.name}, ${licenseAcceptance.org})`,
      by: user.email,
      at: licenseAcceptance.at,
    })
    .from(licenseAcceptance)
    .leftJoin(organization, eq(organization.id, licenseAcceptance.org))
    .leftJoin(user, eq(user.id, licenseAcceptance.userId))
    .orderBy(desc(licenseAcceptance.at))
    .limit(MAX_ROWS);
}
