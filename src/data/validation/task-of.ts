/** The order to a worker to validate a version. */
import type { Ctx } from "../../ctx.ts";
import type { Reading } from "./containers/source.ts";
import type { VersionRow } from "./model.ts";
import type { WorkerTask } from "./worker/worker.ts";

type Validated = Pick<
  VersionRow,
  "mapping" | "reading" | "splitSeed" | "holdoutFraction" | "skipBad" | "removeDuplicates"
> & {
  fileId: string;
  filename: string | null;
};

/** @param outDir folder for the rows */
export function validationTask(
  ctx: Ctx,
  version: Validated,
  outDir: string,
): Extract<WorkerTask, { type: "validate" }> {
  return {
    type: "validate",
    source: ctx.files.path("files", version.fileId),
    filename: version.filename ?? "",
    outDir,
    mapping: (version.mapping ?? null) as Extract<WorkerTask, { type: "validate" }>["mapping"],
    seed: version.splitSeed,
    holdoutFraction: version.holdoutFraction / 1e6,
    skipBad: version.skipBad,
    removeDuplicates: version.removeDuplicates,
    ...(version.reading ? { reading: version.reading as Reading } : {}),
    maxUnpackedBytes: ctx.config.max_unpacked_bytes,
    maxLineBytes: ctx.config.max_line_bytes,
    diskReserve: ctx.config.disk_reserve_bytes,
  };
}
