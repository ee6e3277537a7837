/** Progress of a model being installed: kept in its row, written at most twice a second, and told on the bus. */
import { eq } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { sqlJson } from "../../db/json.ts";
import { baseModel } from "../../db/schema/models.ts";

/** What the row's `progress` column holds, as JSON. `fraction` 0 to 1, null when unknown. */
export interface InstallProgress {
  message: string;
  fraction: number | null;
}

export type Report = (message: string, fraction?: number | null) => void;

/** A reporter for model `id`: never waits for the database, drops what comes too fast, except a new message. */
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

/** Megabytes for people: `12.3 MB`. */
export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
