/** Tells in a job's own history when one of its checkpoints turned out to be damaged. */
import type { Ctx } from "../../ctx.ts";
import { note } from "./transitions.ts";

/** Listens until the returned function is called. */
export function startCheckpointNotes(ctx: Ctx): () => void {
  return ctx.bus.on("checkpoint.invalid", ({ jobId, step, reason }) => {
    const message = `The checkpoint of step ${step} is damaged and will not be used: ${reason}. The one before it takes its place.`;
    ctx
      .write((tx) => note(tx, ctx, { id: jobId }, message, "warn"))
      .catch((cause) => ctx.log("error", "a damaged checkpoint was not noted", { job: jobId, cause }));
  });
}
