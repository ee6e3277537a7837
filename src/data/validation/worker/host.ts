/** Runs one data task in a process of its own: whatever it allocates, hangs in or crashes on, the server goes on. */
import { join } from "node:path";
import type { WorkerOrder } from "./process.ts";
import type { WorkerAnswer, WorkerTask } from "./worker.ts";

/** The hidden verb that makes the program a data worker. */
export const DATA_WORKER = "data-worker";
const COMPILED = /\$bunfs|~BUN/.test(import.meta.url);
const COMMAND = COMPILED ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../../main.ts")];
/** Far above what honest data needs: a row of the greatest length takes a few hundred MB. */
const MAX_MEMORY = 2 * 2 ** 30;

export class WorkerFailure extends Error {
  /** The system's error code, such as ENOSPC; null for anything else. */
  readonly code: string | null;
  constructor(message: string, code: string | null) {
    super(message);
    this.name = "WorkerFailure";
    this.code = code;
  }
}

interface WorkerOptions {
  /** Ends the process. What it wrote is the caller's to remove. */
  signal: AbortSignal;
  /** Ends it when it has said nothing for so long. */
  silenceMs: number;
  onMessage?: (answer: WorkerAnswer) => void;
}

/**
 * @returns the last answer of the task
 * @throws WorkerFailure when it failed, fell silent, took too much memory, crashed or was ended
 */
export function runInWorker(task: WorkerTask, options: WorkerOptions): Promise<WorkerAnswer> {
  return new Promise((resolve, reject) => {
    const { signal, silenceMs } = options;
    const fail = (message: string, code: string | null = null) => reject(new WorkerFailure(message, code));
    if (signal.aborted) {
      fail("stopped");
      return;
    }
    const child = Bun.spawn([...COMMAND, DATA_WORKER], {
      // Nothing of the server's environment: no secret can end up in a dump of this process.
      env: {},
      stdio: ["ignore", "ignore", "ignore"],
      serialization: "advanced",
      ipc(answer: WorkerAnswer) {
        if (answer.type === "progress") {
          timer.refresh();
          if (!signal.aborted) options.onMessage?.(answer);
        } else settle(() => (answer.type === "failed" ? fail(answer.message, answer.code) : resolve(answer)));
      },
      onExit(_child, code, killedBy) {
        settle(() => fail(`the worker ended by itself (${killedBy ?? `exit code ${code}`})`));
      },
    });
    let settled = false;
    function settle(how: () => void) {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      child.kill("SIGKILL");
      // Only when it is gone are its files as it left them.
      void child.exited.then(how);
    }
    const aborted = () => settle(() => fail("stopped"));
    const timer = setTimeout(() => settle(() => fail(`no progress for ${silenceMs / 1000} s`)), silenceMs);
    signal.addEventListener("abort", aborted);
    child.send({ task, maxMemory: MAX_MEMORY } satisfies WorkerOrder);
  });
}
