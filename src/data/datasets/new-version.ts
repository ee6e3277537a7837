/** Creates a version of a dataset from a stream of bytes, as a file of its own. */
import type { Actor, Ctx } from "../../ctx.ts";
import { deleteFile, keepFile } from "../files/service.ts";
import { type Received, receive } from "../storage/receive.ts";
import type { Reading } from "../validation/containers/source.ts";
import type { DatasetRow, VersionRow } from "../validation/model.ts";
import { createVersion } from "./versions.ts";

interface NewContent {
  bytes: AsyncIterable<Uint8Array>;
  filename: string;
  /** Mapping, reading and left-out rows are those of the earlier version, because the file has the same form. */
  keepSettings?: boolean;
}

/**
 * Stores the bytes as a file and makes it the newest version of the dataset.
 * @param after the version that must still be the newest
 */
export async function newVersionFrom(
  ctx: Ctx,
  actor: Actor,
  of: DatasetRow,
  after: VersionRow,
  { bytes, filename, keepSettings = false }: NewContent,
): Promise<VersionRow> {
  const received = await receive(ctx, bytes, ctx.config.max_upload_bytes);
  return newVersionOf(ctx, actor, of, after, { received, filename, keepSettings });
}

/** The same for a file that was received. */
export async function newVersionOf(
  ctx: Ctx,
  actor: Actor,
  of: DatasetRow,
  after: VersionRow,
  { received, filename, keepSettings = false }: { received: Received; filename: string; keepSettings?: boolean },
): Promise<VersionRow> {
  const { file } = await keepFile(ctx, actor, received, { filename, purpose: "fine-tune" }, null);
  try {
    return await createVersion(ctx, actor, of.id, {
      fileId: file.id,
      after: after.id,
      ...(keepSettings
        ? {
            mapping: after.mapping,
            reading: after.reading as Reading | null,
            skipBad: after.skipBad,
            removeDuplicates: after.removeDuplicates,
          }
        : {}),
    });
  } catch (error) {
    await deleteFile(ctx, actor, file.id);
    throw error;
  }
}
