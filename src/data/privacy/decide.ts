/** Decides about the findings of a version: leave the rows out, mask the values, or accept them with a reason. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";
import { piiScan } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { localUnit } from "../../objects/local.ts";
import { requireOwner } from "../../roles.ts";
import { newVersionFrom } from "../datasets/new-version.ts";
import { getDataset } from "../datasets/service.ts";
import { refuseUnsettled, versionOf } from "../datasets/versions.ts";
import { FINDINGS_INDEX } from "../pii/scan-rows.ts";
import type { DatasetRow, VersionRow } from "../validation/model.ts";
import { scanOf } from "./findings.ts";
import type { Decide, ScanRow } from "./model.ts";
import { quarantined } from "./quarantine.ts";

async function nameOf(ctx: Ctx, actor: Actor): Promise<string> {
  const [row] = await ctx.db.select({ name: user.name, email: user.email }).from(user).where(eq(user.id, actor.userId));
  return row ? (row.name && row.name !== row.email ? `${row.name} (${row.email})` : row.email) : actor.userId;
}

async function record(
  ctx: Ctx,
  actor: Actor,
  version: VersionRow,
  given: Decide,
  nextVersionId: string | null,
): Promise<void> {
  const { decision, reason, kinds, style } = given;
  const values = {
    decision,
    reason,
    nextVersionId,
    decidedBy: actor.userId,
    decidedByName: await nameOf(ctx, actor),
    decidedAt: ctx.clock.now(),
  };
  await ctx.write(async (tx) => {
    await tx.update(piiScan).set(values).where(eq(piiScan.versionId, version.id));
    await audit(tx, ctx, actor, `dataset.pii.${decision}`, version.id, {
      dataset: version.datasetId,
      version: version.number,
      reason,
      ...(kinds ? { kinds } : {}),
      ...(nextVersionId ? { next_version: nextVersionId } : {}),
      ...(decision === "mask" ? { style } : {}),
    });
  });
  ctx.bus.emit("dataset.changed", { org: version.org, datasetId: version.datasetId, versionId: version.id });
}

function refuse(code: string, message: string, param: string): never {
  throw new AppError("conflict", code, message, { param });
}

async function changed(
  ctx: Ctx,
  actor: Actor,
  of: DatasetRow,
  { version, scan }: { version: VersionRow; scan: ScanRow },
  { decision, kinds, style }: Decide,
): Promise<VersionRow> {
  const newest = await versionOf(ctx, actor, of.id);
  refuseUnsettled(newest);
  if (newest.id !== version.id)
    refuse(
      "version_not_newest",
      `Only the newest version can be changed, and version ${version.number} is followed by ${newest.number}. Decide about that one, or accept the findings of this one.`,
      "version",
    );
  const chosen = kinds?.length ? new Set(kinds) : null;
  if (chosen && ![...chosen].some((kind) => scan.counts[kind]))
    refuse("no_findings", "The version has no findings of these kinds.", "kinds");
  const dir = ctx.files.path("datasets", version.id);
  if (decision === "leave_out" && !chosen && scan.rowsFound >= scan.rowsDone)
    refuse("no_rows_left", "Every row has findings, so nothing would be left. Mask the values.", "decision");
  const bytes = quarantined(dir, { how: decision === "mask" ? "mask" : "leave_out", kinds: chosen, style });
  return newVersionFrom(ctx, actor, of, version, { bytes, filename: `${of.name.slice(0, 200)}.jsonl` });
}

/**
 * Decides about a version. `leave_out` and `mask` create the next version; `accept` is for the creator of the dataset
 * and those who manage the team.
 * @throws AppError `reason_needed`, `not_scanned`, `no_findings`, `version_not_newest`, `no_rows_left`
 */
export async function decide(ctx: Ctx, actor: Actor, datasetId: string, given: Decide): Promise<VersionRow> {
  const of = await getDataset(ctx, actor, datasetId);
  const version = await versionOf(ctx, actor, datasetId, given.version);
  const scan = await scanOf(ctx, version.id);
  if (given.decision === "accept") {
    requireOwner(actor, of.createdBy);
    if (!given.reason)
      throw new AppError("invalid", "reason_needed", "Say why the findings are accepted. The reason is recorded.", {
        param: "reason",
      });
    if (!scan || (scan.status !== "done" && scan.status !== "failed"))
      refuse("not_scanned", "The version has not been scanned yet. Wait until the scan has ended.", "version");
    await record(ctx, actor, version, given, null);
    return version;
  }
  const dir = await localUnit(ctx, { folder: "datasets", id: version.id });
  if (scan?.status !== "done" || !existsSync(join(dir, FINDINGS_INDEX)))
    refuse("not_scanned", "The version has not been scanned yet. Wait until the scan has ended.", "version");
  if (scan.rowsFound === 0) refuse("no_findings", "The version has no findings.", "version");
  const next = await changed(ctx, actor, of, { version, scan }, given);
  await record(ctx, actor, version, given, next.id);
  return next;
}
