/** Which validation rows have the prompt of a training row, by two versions or by the two splits of one. */
import { type Ctx, perContext } from "../../ctx.ts";
import { localUnit } from "../../objects/local.ts";
import type { VersionRow } from "../validation/model.ts";
import type { Overlap } from "../validation/rows/report.ts";
import { runInWorker } from "../validation/worker/host.ts";
import { splitPath } from "./rows.ts";

const SILENCE_MS = 30_000;
const MAX_KNOWN = 500;
/** How long a failed count is not tried again: a plan of many trials asks once for each of them. */
const RETRY_MS = 30_000;

/** A count since it was started, in milliseconds of the monotonic clock. */
interface Count {
  since: number;
  value: Promise<Overlap | null>;
  failed: boolean;
}
/** Counts by version ids: versions never change. */
const knownOf = perContext(() => new Map<string, Count>());

/** Two sides that are compared. */
interface Sides {
  data: VersionRow;
  /** Another version with the validation rows; null for the validation split of `data`. */
  validation: VersionRow | null;
  /** Only the validation split of `data` is withheld from training, and only that of `validation` is compared. */
  splits?: boolean;
}

async function count(ctx: Ctx, { data, validation, splits = !validation }: Sides): Promise<Overlap> {
  for (const { id } of [data, ...(validation ? [validation] : [])]) await localUnit(ctx, { folder: "datasets", id });
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

function startCount(ctx: Ctx, sides: Sides, since: number): Count {
  const made: Count = { since, failed: false, value: Promise.resolve(null) };
  made.value = count(ctx, sides).catch((cause) => {
    made.failed = true;
    if (!ctx.signal.aborted) ctx.log("warn", "rows could not be compared", { version: sides.data.id, cause });
    return null;
  });
  return made;
}

/**
 * The overlap of two ready versions, or of the splits of one.
 * @param waitMs how long to wait for the count after its start, which all callers share; it continues in the background
 * @returns null while it is not known
 */
export async function overlapOf(ctx: Ctx, sides: Sides, waitMs: number): Promise<Overlap | null> {
  const { data, validation, splits = !validation } = sides;
  if (splits && (validation ?? data).holdoutRows === 0) return null;
  const known = knownOf(ctx);
  const key = `${data.id} ${validation?.id ?? ""} ${splits}`;
  const now = ctx.clock.monotonic();
  let found = known.get(key);
  if (!found || (found.failed && now - found.since > RETRY_MS)) {
    if (known.size >= MAX_KNOWN) known.clear();
    found = startCount(ctx, sides, now);
    known.set(key, found);
  }
  const left = Math.max(1, waitMs - (now - found.since));
  return Promise.race([found.value, Bun.sleep(left).then(() => null)]);
}
