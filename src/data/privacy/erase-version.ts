/** Erases one version: its rows, its file, and what jobs stored of its rows. The version stays as a name. */
import { and, eq, isNull, ne } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion, file, piiScan } from "../../db/schema/datasets.ts";
import { eraseVersionTraces } from "../validation/erase.ts";
import { clearDisk, type Removed, refuseInUse } from "../validation/records.ts";

/**
 * Its file is deleted too, unless another version is read from it.
 * @param why what pages and errors say about the version afterwards
 * @throws AppError `dataset_in_use` while an unfinished job needs the version
 */
export async function eraseVersion(ctx: Ctx, actor: Actor, versionId: string, why: string): Promise<void> {
  const removed = await ctx.write(async (tx): Promise<Removed | null> => {
    const [row] = await tx
      .select()
      .from(datasetVersion)
      .where(and(eq(datasetVersion.id, versionId), eq(datasetVersion.org, actor.org)));
    if (!row) return null;
    await refuseInUse(tx, "dataset", row.datasetId, [versionId]);
    const all: Removed = { files: [], versions: [versionId], datasets: [] };
    const [other] = row.fileId
      ? await tx
          .select({ id: datasetVersion.id })
          .from(datasetVersion)
          .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
          .where(
            and(eq(datasetVersion.fileId, row.fileId), ne(datasetVersion.id, versionId), isNull(dataset.deletedAt)),
          )
          .limit(1)
      : [];
    if (row.fileId && !other) {
      all.files.push(row.fileId);
      await tx.update(file).set({ deletedAt: ctx.clock.now() }).where(eq(file.id, row.fileId));
    }
    const erased = { status: "failed" as const, error: why, report: null, bytes: 0, finishedAt: ctx.clock.now() };
    await tx.update(datasetVersion).set(erased).where(eq(datasetVersion.id, versionId));
    await tx.delete(piiScan).where(eq(piiScan.versionId, versionId));
    await audit(tx, ctx, actor, "dataset.version.erase", versionId, { dataset: row.datasetId, version: row.number });
    return all;
  });
  if (!removed) return;
  await clearDisk(ctx, removed);
  await eraseVersionTraces(ctx, actor.org, [versionId]);
}
