/** Erases what a search found: the next version of each dataset without the rows, older versions, stored answers. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { newVersionOf } from "../../data/datasets/new-version.ts";
import { getDataset } from "../../data/datasets/service.ts";
import { refuseUnsettled, versionOf } from "../../data/datasets/versions.ts";
import { getFile } from "../../data/files/service.ts";
import type { Hit } from "../../data/pii/find-person.ts";
import { linesOf } from "../../data/pii/lines.ts";
import { eraseVersion } from "../../data/privacy/erase-version.ts";
import { rowsWithout } from "../../data/privacy/quarantine.ts";
import { receive } from "../../data/storage/receive.ts";
import type { SubjectErasure, SubjectResult } from "../../db/schema/archives.ts";
import { AppError } from "../../errors.ts";
import { localUnit } from "../../objects/local.ts";
import type { SubjectRow } from "./model.ts";
import { hitsPath } from "./search.ts";
import { eraseStored, type StoredKind } from "./stored.ts";

const WHY = "The rows of this version were erased on the request of a person. Use a newer version.";

/** The hits of a request. */
async function* hitsOf(ctx: Ctx, id: string): AsyncGenerator<Hit> {
  for await (const line of linesOf(hitsPath(ctx, id))) if (line) yield JSON.parse(line) as Hit;
}

/** Ids of the rows of a version with the person. */
async function rowsOf(ctx: Ctx, requestId: string, versionId: string): Promise<Set<number>> {
  const ids = new Set<number>();
  for await (const { kind, of, ref } of hitsOf(ctx, requestId))
    if (kind === "row" && of === versionId) ids.add(Number(ref));
  return ids;
}

/** What an erasure says that cannot be done; anything else is thrown. */
function refusalOf(error: unknown): string {
  if (error instanceof AppError && error.kind !== "internal") return error.message;
  throw error;
}

const newer = { next_version_id: null, error: "A newer version was created after the search. Search again." };

/** @returns the next version, or why there is none; the same one when an interrupted erasure already created it */
async function nextVersion(
  ctx: Ctx,
  actor: Actor,
  requestId: string,
  { id, dataset_id, rows }: SubjectResult["versions"][number],
): Promise<{ next_version_id: string | null; error: string | null }> {
  try {
    const of = await getDataset(ctx, actor, dataset_id);
    const newest = await versionOf(ctx, actor, dataset_id);
    const isLast = newest.id === id;
    if (isLast) refuseUnsettled(newest);
    if (isLast && rows >= newest.rows)
      return { next_version_id: null, error: "Every row is about this person. Delete the dataset." };
    const dir = await localUnit(ctx, { folder: "datasets", id });
    if (!existsSync(dir)) return newer;
    const bytes = rowsWithout(dir, await rowsOf(ctx, requestId, id));
    const received = await receive(ctx, bytes, ctx.config.max_upload_bytes);
    if (!isLast) {
      await rm(received.path, { force: true });
      const source = newest.fileId === null ? null : await getFile(ctx, actor, newest.fileId);
      return source?.sha256 === received.sha256 ? { next_version_id: newest.id, error: null } : newer;
    }
    const filename = `${of.name.slice(0, 200)}.jsonl`;
    const { id: nextId } = await newVersionOf(ctx, actor, of, newest, { received, filename });
    return { next_version_id: nextId, error: null };
  } catch (error) {
    return { next_version_id: null, error: refusalOf(error) };
  }
}

/**
 * Carries out an erasure. May be interrupted, and continues with the datasets that are not done.
 * @param save stores how far it came
 */
export async function erase(
  ctx: Ctx,
  row: SubjectRow,
  save: (erasure: SubjectErasure) => Promise<void>,
): Promise<SubjectErasure> {
  const { result, erasure } = row;
  if (!result || !erasure) throw new Error("nothing was found that could be erased");
  const actor: Actor = { ...systemActor(row.org), userId: erasure.by };
  const done = structuredClone(erasure);
  for (const version of result.versions.filter(({ newest }) => newest)) {
    if (done.datasets.some(({ id }) => id === version.dataset_id)) continue;
    const next = await nextVersion(ctx, actor, row.id, version);
    done.datasets.push({ id: version.dataset_id, name: version.dataset, rows: version.rows, ...next });
    await save(done);
  }
  const blocked = new Set(done.datasets.filter(({ error }) => error).map(({ id }) => id));
  for (const { id, dataset_id, newest } of done.old_versions ? result.versions : []) {
    if (done.deleted_versions.includes(id) || done.kept_versions.some((kept) => kept.id === id)) continue;
    if (newest && blocked.has(dataset_id)) {
      done.kept_versions.push({ id, reason: "It is the newest version of its dataset." });
      continue;
    }
    try {
      await eraseVersion(ctx, actor, id, WHY);
      done.deleted_versions.push(id);
    } catch (error) {
      done.kept_versions.push({ id, reason: refusalOf(error) });
    }
    await save(done);
  }
  if (done.stored)
    for await (const { kind, of, ref } of hitsOf(ctx, row.id))
      if (kind !== "row" && kind !== "file_line")
        await eraseStored(ctx, row.org, { kind: kind as StoredKind, of, ref });
  if (done.stored) done.deleted = { ...result.stored };
  await ctx.emptyLog();
  return done;
}
