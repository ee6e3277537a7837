/** Records damaged checkpoints in the history of their job. */
import type { Ctx } from "../../ctx.ts";
import { note } from "./transitions.ts";

/** Subscribes to damaged checkpoints. @returns a function that unsubscribes */
export function startCheckpointNotes(ctx: Ctx): () => void {
  return ctx.bus.on("checkpoint.invalid", ({ jobId, step, reason }) => {
    const message = `The checkpoint at step ${step} is damaged and will not be used: ${reason}. The previous checkpoint is used instead.`;
    ctx
      .write((tx) => note(tx, ctx, { id: jobId }, message, "warn"))
      .catch((cause) =>
        ctx.log("error", "a damaged checkpoint could not be recorded in the job's history", { job: jobId, cause }),
      );
  });
}
