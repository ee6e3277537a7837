/** Runs one data task in a separate process, so that a crash, a hang or a memory leak does not affect the server. */
import { join } from "node:path";
import type { WorkerOrder } from "./process.ts";
import type { WorkerAnswer, WorkerTask } from "./worker.ts";

/** The hidden verb that makes the program a data worker. */
export const DATA_WORKER = "data-worker";
const COMPILED = /\$bunfs|~BUN/.test(import.meta.url);
const COMMAND = COMPILED ? [process.execPath] : [process.execPath, join(import.meta.dir, "../../../main.ts")];
/** Bytes. Well above what valid data needs: a row of the maximum length takes a few hundred MB. */
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
  /** Kills the process. The caller removes the files it wrote. */
  signal: AbortSignal;
  /** Kills the process after this many milliseconds without a message. */
  silenceMs: number;
  onMessage?: (answer: WorkerAnswer) => void;
}

/**
 * @returns the last answer of the task
 * @throws WorkerFailure when the task failed, sent no message in time, used too much memory, crashed or was aborted
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
      // An empty environment, so that no secret can end up in a core dump of this process.
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
        settle(() => fail(`the worker exited unexpectedly (${killedBy ?? `exit code ${code}`})`));
      },
    });
    let settled = false;
    function settle(how: () => void) {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
      child.kill("SIGKILL");
      // Wait for the exit: until then the process may still write files.
      void child.exited.then(how);
    }
    const aborted = () => settle(() => fail("stopped"));
    const timer = setTimeout(() => settle(() => fail(`no progress for ${silenceMs / 1000} s`)), silenceMs);
    signal.addEventListener("abort", aborted);
    child.send({ task, maxMemory: MAX_MEMORY } satisfies WorkerOrder);
  });
}
