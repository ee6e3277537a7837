/** Progress of an install: stored in the model's row at most twice a second, and announced on the bus. */
import { eq } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { baseModel } from "../../db/schema/models.ts";

/** The JSON in the row's `progress` column. `fraction` is 0 to 1, null when unknown. */
export interface InstallProgress {
  message: string;
  fraction: number | null;
}

export type Report = (message: string, fraction?: number | null) => void;

/**
 * A reporter for model `id`. It never waits for the database, and drops updates that come too fast unless their
 * headline is new.
 */
export function progressReporter(ctx: Ctx, id: string): Report {
  let last = Number.NEGATIVE_INFINITY;
  let lastMessage = "";
  return (message, fraction = null) => {
    const now = ctx.clock.monotonic();
    const headline = message.split(":")[0] ?? message;
    if (now - last < 500 && headline === lastMessage) return;
    last = now;
    lastMessage = headline;
    const progress: InstallProgress = { message, fraction };
    void ctx
      .write(
        (tx) =>
          tx
            .update(baseModel)
            .set({ progress: sqlJson(progress) })
            .where(eq(baseModel.id, id)),
        {
          relaxed: true,
        },
      )
      .then(() => ctx.bus.emit("base_model.changed", { modelId: id }))
      .catch((cause) => ctx.log("warn", "model progress not stored", { model: id, cause }));
  };
}

/** A size for display: `12.3 MB` or `1.25 GB`. */
export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
