/**
 * The process of one data task: a thread does the work, while this part limits memory and exits when the server is
 * gone.
 */
import type { WorkerAnswer, WorkerTask } from "./worker.ts";

/** The worker's module. A compiled binary has it at the path relative to src. */
const SOURCE = new URL(
  /\$bunfs|~BUN/.test(import.meta.url) ? "./data/validation/worker/worker.ts" : "./worker.ts",
  import.meta.url,
);
const LOOK_MS = 200;

/** The message from the server: the task, and the memory limit of the process in bytes. */
export interface WorkerOrder {
  task: WorkerTask;
  maxMemory: number;
}

/** Kills this process immediately, regardless of what its thread does. */
const end = () => process.kill(process.pid, "SIGKILL");

function answer(message: WorkerAnswer, last: boolean) {
  // Disconnect only after the last message was sent. Without a server there is nobody to answer.
  if (!process.connected) end();
  else process.send?.(message, undefined, undefined, last ? () => process.disconnect?.() : undefined);
}

/** Receives one task from the server, answers, and exits. */
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
      answer({ type: "failed", code: "ENOMEM", message: `it used more than ${limit} of memory` }, true);
    }, LOOK_MS);
  });
}
