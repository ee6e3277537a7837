/** Reads what the scan of a version found: the summary, and rows with masked values. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eq } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { piiScan } from "../../db/schema/datasets.ts";
import { localUnit } from "../../objects/local.ts";
import { pageLines } from "../datasets/read-rows.ts";
import { versionOf } from "../datasets/versions.ts";
import type { PiiKind } from "../pii/kinds.ts";
import { FINDINGS_FILE, FINDINGS_INDEX, type FoundRow } from "../pii/scan-rows.ts";
import { type PiiView, piiView, type ScanRow } from "./model.ts";
import { policyOf } from "./policy.ts";

/** The scan of a version; null when there is none. */
export async function scanOf(ctx: Ctx, versionId: string): Promise<ScanRow | null> {
  const [row] = await ctx.db.select().from(piiScan).where(eq(piiScan.versionId, versionId));
  return row ?? null;
}

/** What was found in a version of a dataset, the newest one when none is named. */
export async function readPii(ctx: Ctx, actor: Actor, datasetId: string, versionId?: string): Promise<PiiView> {
  const version = await versionOf(ctx, actor, datasetId, versionId);
  return piiView(version, await scanOf(ctx, version.id), await policyOf(ctx, actor.org));
}

/** A page of rows with findings. @param page `kind`: only rows with a finding of it, and only these findings */
export async function foundRows(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  page: { version?: string; kind?: PiiKind; after: number; limit: number },
): Promise<{ rows: FoundRow[]; next: number | null }> {
  const { kind } = page;
  const version = await versionOf(ctx, actor, datasetId, page.version);
  const dir = await localUnit(ctx, { folder: "datasets", id: version.id });
  if (!existsSync(join(dir, FINDINGS_INDEX))) return { rows: [], next: null };
  const wanted = kind ? (row: FoundRow) => row.findings.some((one) => one.kind === kind) : null;
  const found = await pageLines<FoundRow>(join(dir, FINDINGS_FILE), join(dir, FINDINGS_INDEX), page, wanted);
  if (!kind) return found;
  const only = (row: FoundRow) => ({ ...row, findings: row.findings.filter((one) => one.kind === kind) });
  return { rows: found.rows.map(only), next: found.next };
}
