/**
 * The process around one data task: a thread does the work while this part watches memory and ends both when the server
 * is gone.
 */
import type { WorkerAnswer, WorkerTask } from "./worker.ts";

/** In a compiled binary every module lies beside the program, and the worker keeps its folder. */
const SOURCE = new URL(
  /\$bunfs|~BUN/.test(import.meta.url) ? "./data/validation/worker/worker.ts" : "./worker.ts",
  import.meta.url,
);
const LOOK_MS = 200;

/** What the server sends: the task, and how many bytes of memory the whole process may take. */
export interface WorkerOrder {
  task: WorkerTask;
  maxMemory: number;
}

/** Ends this process at once, whatever its thread is doing. */
const end = () => process.kill(process.pid, "SIGKILL");

function answer(message: WorkerAnswer, last: boolean) {
  // The channel is flushed before the process ends; a server that is gone needs no answer.
  if (!process.connected) end();
  else process.send?.(message, undefined, undefined, last ? () => process.disconnect?.() : undefined);
}

/** Takes one task over the channel to the server, answers, and ends with it. */
export function serveOneTask(): void {
  process.on("disconnect", end);
  process.once("message", (order: WorkerOrder) => {
    const thread = new Worker(SOURCE);
    thread.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => answer(data, data.type !== "progress");
    thread.onerror = ({ message }) => answer({ type: "failed", code: null, message }, true);
    thread.postMessage(order.task);
    const watch = setInterval(() => {
      if (process.memoryUsage.rss() <= order.maxMemory) return;
      clearInterval(watch);
      const limit = `${Math.round(order.maxMemory / 2 ** 20)} MB`;
      answer({ type: "failed", code: "ENOMEM", message: `it took more than ${limit} of memory` }, true);
    }, LOOK_MS);
  });
}
