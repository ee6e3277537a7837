/** Tries a model's chat templates in a process of its own, with limits of time, memory and output. */
import type { Ctx } from "../../ctx.ts";
import { runInWorker, WorkerFailure } from "../validation/worker/host.ts";

/** One rendering takes milliseconds; the start of the process may take seconds on a busy machine. */
const RENDER_MS = 10_000;

/**
 * What is wrong with the chat templates in `modelDir`, as a whole sentence; null when they may be used.
 * @throws WorkerFailure when the server stops
 */
export async function templateProblem(ctx: Ctx, modelDir: string): Promise<string | null> {
  try {
    const answer = await runInWorker({ type: "templates", modelDir }, { signal: ctx.signal, silenceMs: RENDER_MS });
    if (answer.type !== "rendered") throw new Error("the worker gave another answer");
    return answer.problem;
  } catch (cause) {
    if (ctx.signal.aborted || !(cause instanceof WorkerFailure)) throw cause;
    return `Its chat template could not be rendered for a short conversation: ${cause.message}.`;
  }
}
