/** Tests the chat templates of a model in a separate process, with limits on time, memory and output. */
import type { Ctx } from "../../ctx.ts";
import { runInWorker, WorkerFailure } from "../validation/worker/host.ts";

/** Rendering takes milliseconds, but on a busy machine the process can take seconds to start. */
const RENDER_MS = 10_000;

/**
 * The first problem of the chat templates in `modelDir` as a sentence; null when they can be used.
 * @throws WorkerFailure when the server stops
 */
export async function templateProblem(ctx: Ctx, modelDir: string): Promise<string | null> {
  try {
    const answer = await runInWorker({ type: "templates", modelDir }, { signal: ctx.signal, silenceMs: RENDER_MS });
    if (answer.type !== "rendered") throw new Error("the worker sent an unexpected answer");
    return answer.problem;
  } catch (cause) {
    if (ctx.signal.aborted || !(cause instanceof WorkerFailure)) throw cause;
    return `Its chat template could not be rendered for a short conversation: ${cause.message}.`;
  }
}
