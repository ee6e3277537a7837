/** The request to the sandbox program of Python graders and its verdict, the same for every kind of sandbox. */
import { writeExact } from "../lib/text/exact-json.ts";
import type { Sample } from "./template.ts";

/**
 * Limits of one run, the same as OpenAI's: 2 minutes, 2 GB of memory, 1 GB of disk (a tmpfs) and one CPU core. The
 * sandbox also allows 64 threads.
 */
export interface PythonLimits {
  seconds: number;
  memoryBytes: number;
  diskBytes: number;
}
export const PYTHON_LIMITS: PythonLimits = { seconds: 120, memoryBytes: 2 * 2 ** 30, diskBytes: 2 ** 30 };

export interface PythonJob {
  source: string;
  /** Only compile the source, do not run it. */
  check: boolean;
  sample: Sample | null;
  item: Record<string, unknown>;
}

/** `runtime`: an error of the grader; `server`: an error of this machine. */
export type Verdict = { reward: number } | { fine: true } | { runtime: string } | { server: string };
/** Why a sandbox could not be created; the next kind is tried. */
export interface NoSandbox {
  sandbox: string;
}

/** Exit code of the sandbox program when the sandbox could not be created and no code of a grader ran. */
const NO_SANDBOX = 70;

/**
 * The verdict of a sandbox that ended. The exit code says whether a grader ran; the grader's code cannot choose it.
 * @param printed standard output
 * @param stderr standard error
 */
export function verdictOf(exitCode: number | null, printed: string, stderr: string): Verdict | NoSandbox {
  let result: Record<string, unknown> = {};
  try {
    result = JSON.parse(printed) as Record<string, unknown>;
  } catch {
    return { server: `The sandbox ended without a result. ${stderr.trim().slice(-300)}`.trim() };
  }
  if (exitCode === NO_SANDBOX) return { sandbox: String(result?.sandbox ?? "it cannot be created").slice(0, 500) };
  if (exitCode !== 0) return { server: `The sandbox ended with exit code ${exitCode}.` };
  if (typeof result?.reward === "number" && Number.isFinite(result.reward)) return { reward: result.reward };
  if (result?.fine === true) return { fine: true };
  if (typeof result?.runtime === "string") return { runtime: result.runtime.slice(0, 5000) };
  return { runtime: "The grader gave no result." };
}

/** The request in the form that the sandbox program reads. `hide`: paths that the grader must not see. */
export function requestOf(job: PythonJob, limits: PythonLimits, isolation: "namespaces" | "container", hide: string[]) {
  const { seconds, memoryBytes: memory_bytes, diskBytes: disk_bytes } = limits;
  return writeExact({ ...job, isolation, seconds, memory_bytes, disk_bytes, hide });
}
