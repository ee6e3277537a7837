/** Runs one task in a worker of its own and takes it down afterwards, so that nothing it allocated or hung in outlives it. */
import type { WorkerAnswer, WorkerTask } from "./worker.ts";

/** In a compiled binary every module lies beside the program, and the worker keeps its folder. */
const SOURCE = new URL(/\$bunfs|~BUN/.test(import.meta.url) ? "./datasets/worker.ts" : "./worker.ts", import.meta.url);

export class WorkerFailure extends Error {
  /** The system's error code, such as ENOSPC; null for anything else. */
  readonly code: string | null;
  constructor(message: string, code: string | null) {
    super(message);
    this.name = "WorkerFailure";
    this.code = code;
  }
}

export interface WorkerOptions {
  /** Asks the worker to clean up and end; what does not end within two seconds is ended. */
  signal: AbortSignal;
  /** Ends it when it has said nothing for so long. */
  silenceMs: number;
  onMessage?: (answer: WorkerAnswer) => void;
}

const GRACE_MS = 2000;
type Given = WorkerTask extends infer T ? (T extends WorkerTask ? Omit<T, "stop"> : never) : never;

/**
 * @returns the last answer of the task
 * @throws WorkerFailure when it failed, fell silent or was ended
 */
export function runInWorker(given: Given, options: WorkerOptions): Promise<WorkerAnswer> {
  return new Promise((resolve, reject) => {
    if (options.signal.aborted) {
      reject(new WorkerFailure("stopped", null));
      return;
    }
    const worker = new Worker(SOURCE);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    let timer = setTimeout(silent, options.silenceMs);
    function end(settle: () => void) {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", aborted);
      worker.terminate();
      settle();
    }
    function silent() {
      end(() => reject(new WorkerFailure(`no progress for ${options.silenceMs / 1000} s`, null)));
    }
    function aborted() {
      Atomics.store(stop, 0, 1);
      clearTimeout(timer);
      timer = setTimeout(() => end(() => reject(new WorkerFailure("stopped", null))), GRACE_MS);
    }
    options.signal.addEventListener("abort", aborted);
    worker.onmessage = (event: MessageEvent<WorkerAnswer>) => {
      const answer = event.data;
      if (answer.type === "failed") end(() => reject(new WorkerFailure(answer.message, answer.code)));
      else if (answer.type === "validated" || answer.type === "counted") end(() => resolve(answer));
      else {
        if (options.signal.aborted) return;
        clearTimeout(timer);
        timer = setTimeout(silent, options.silenceMs);
        options.onMessage?.(answer);
      }
    };
    worker.onerror = (event) => end(() => reject(new WorkerFailure(event.message, null)));
    worker.postMessage({ ...given, stop });
  });
}
