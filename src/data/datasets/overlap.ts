/** Which validation rows have the prompt of a training row, by two versions or by the two splits of one. */
import { type Ctx, perContext } from "../../ctx.ts";
import type { VersionRow } from "../validation/model.ts";
import type { Overlap } from "../validation/rows/report.ts";
import { runInWorker } from "../validation/worker/host.ts";
import { splitPath } from "./rows.ts";

const SILENCE_MS = 30_000;
const MAX_KNOWN = 500;

/** Counts by version ids: versions never change. A failed count is tried again. */
const knownOf = perContext(() => new Map<string, Promise<Overlap | null>>());

/** Two sides that are compared. */
interface Sides {
  data: VersionRow;
  /** Another version with the validation rows; null for the validation split of `data`. */
  validation: VersionRow | null;
  /** Only the validation split of `data` is withheld from training, and only that of `validation` is compared. */
  splits?: boolean;
}

async function count(ctx: Ctx, { data, validation, splits = !validation }: Sides): Promise<Overlap> {
  const both = ({ id }: VersionRow) => [splitPath(ctx, id, "train"), splitPath(ctx, id, "holdout")];
  const answer = await runInWorker(
    {
      type: "overlap",
      // With a validation file nothing of the training file is withheld.
      train: splits ? [splitPath(ctx, data.id, "train")] : both(data),
      validation: splits ? [splitPath(ctx, (validation ?? data).id, "holdout")] : both(validation ?? data),
    },
    { signal: ctx.signal, silenceMs: SILENCE_MS },
  );
  if (answer.type !== "compared") throw new Error("the worker sent an unexpected answer");
  return answer.overlap;
}

/**
 * The overlap of two ready versions, or of the splits of one.
 * @param waitMs how long to wait for the count, which continues in the background
 * @returns null while it is not known
 */
export async function overlapOf(ctx: Ctx, sides: Sides, waitMs: number): Promise<Overlap | null> {
  const { data, validation, splits = !validation } = sides;
  if (splits && (validation ?? data).holdoutRows === 0) return null;
  const known = knownOf(ctx);
  const key = `${data.id} ${validation?.id ?? ""} ${splits}`;
  let counting = known.get(key);
  if (!counting) {
    if (known.size >= MAX_KNOWN) known.clear();
    counting = count(ctx, sides).catch((cause) => {
      known.delete(key);
      if (!ctx.signal.aborted) ctx.log("warn", "rows could not be compared", { version: data.id, cause });
      return null;
    });
    known.set(key, counting);
  }
  return Promise.race([counting, Bun.sleep(waitMs).then(() => null)]);
}
