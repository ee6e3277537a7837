/** Whether jobs on datasets with personal data need a decision: a setting of the installation, and of organizations. */
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { piiScan, privacyPolicy } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { requirePermission } from "../../roles.ts";
import type { VersionRow } from "../validation/model.ts";
import type { Policy } from "./model.ts";

/** The policy of an organization: what the installation requires, an organization cannot lift. */
export async function policyOf(ctx: Ctx, org: string): Promise<Policy> {
  const [row] = await ctx.db.select().from(privacyPolicy).where(eq(privacyPolicy.org, org));
  const byInstallation = ctx.config.pii_policy === "require_decision";
  return {
    requireDecision: byInstallation || row?.requireDecision === true,
    byInstallation,
    scans: ctx.config.pii_scan === "on",
  };
}

/**
 * Requires decisions in the actor's organization, or no longer.
 * @throws AppError `set_by_installation`, `pii_scan_off`
 */
export async function setPolicy(ctx: Ctx, actor: Actor, requireDecision: boolean): Promise<Policy> {
  requirePermission(actor, "team.manage");
  const { org } = actor;
  if (!requireDecision && ctx.config.pii_policy === "require_decision")
    throw new AppError("conflict", "set_by_installation", "This installation requires decisions of every team.", {
      param: "pii_policy",
    });
  if (requireDecision && ctx.config.pii_scan === "off")
    throw new AppError("conflict", "pii_scan_off", "This installation does not scan datasets (setting pii_scan).", {
      param: "pii_policy",
    });
  await ctx.write(async (tx) => {
    const set = { requireDecision };
    await tx
      .insert(privacyPolicy)
      .values({ org, requireDecision })
      .onConflictDoUpdate({ target: privacyPolicy.org, set });
    await audit(tx, ctx, actor, "organization.pii_policy", org, {
      pii_policy: requireDecision ? "require_decision" : "report",
    });
  });
  return policyOf(ctx, org);
}

/**
 * Whether a job may use a version; false while the version is scanned.
 * @param param the field of the request with the data
 * @throws AppError `pii_decision_required`, `pii_not_scanned`
 */
export async function mayUse(ctx: Ctx, version: VersionRow, param: string): Promise<boolean> {
  const policy = await policyOf(ctx, version.org);
  if (!policy.requireDecision) return true;
  const [scan] = await ctx.db.select().from(piiScan).where(eq(piiScan.versionId, version.id));
  if (scan?.decision === "accept" || (scan?.status === "done" && scan.rowsFound === 0)) return true;
  const where = `the page of the dataset (Personal data), or POST /v1/datasets/${version.datasetId}/pii`;
  if (scan?.status === "done")
    throw new AppError(
      "invalid",
      "pii_decision_required",
      scan.nextVersionId
        ? `Version ${version.number} has personal data in ${scan.rowsFound} rows. Use the version that was created without it, or accept the findings of this one: ${where}.`
        : `Version ${version.number} has personal data in ${scan.rowsFound} rows, and this team requires a decision first: leave the rows out, mask the values, or accept them on ${where}.`,
      { param },
    );
  if (policy.scans && scan?.status !== "failed") return false;
  throw new AppError(
    "invalid",
    "pii_not_scanned",
    `Version ${version.number} could not be scanned for personal data, and this team requires it. ${scan?.error ?? "This installation does not scan (setting pii_scan)."} Repeat the scan or accept the version on ${where}.`,
    { param },
  );
}
