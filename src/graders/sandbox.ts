/** What goes into the sandbox of Python graders and what may come out of it, the same for every kind of sandbox. */
import type { Sample } from "./template.ts";

/**
 * What one run may use, as OpenAI has it: 2 minutes, 2 GB of memory, 1 GB of disk (a scratch in memory), one processor;
 * 64 threads beside it.
 */
export interface PythonLimits {
  seconds: number;
  memoryBytes: number;
  diskBytes: number;
}
export const PYTHON_LIMITS: PythonLimits = { seconds: 120, memoryBytes: 2 * 2 ** 30, diskBytes: 2 ** 30 };

export interface PythonJob {
  source: string;
  /** Only compile it: nothing of it runs. */
  check: boolean;
  sample: Sample | null;
  item: Record<string, unknown>;
}

/** `runtime`: the grader's fault; `server`: this machine's. */
export type Verdict = { reward: number } | { fine: true } | { runtime: string } | { server: string };
/** A sandbox that could not be built; the next kind is tried. */
export interface NoSandbox {
  sandbox: string;
}

/** How the sandbox program ends when the sandbox could not be built, and no code of a grader ran. */
const NO_SANDBOX = 70;

/**
 * What a sandbox that ended printed: `complaint` is its standard error. The exit code says whether a grader ran; its
 * code cannot choose that.
 */
export function verdictOf(exitCode: number | null, printed: string, complaint: string): Verdict | NoSandbox {
  let said: Record<string, unknown> = {};
  try {
    said = JSON.parse(printed) as Record<string, unknown>;
  } catch {
    return { server: `The sandbox ended without a result. ${complaint.trim().slice(-300)}`.trim() };
  }
  if (exitCode === NO_SANDBOX) return { sandbox: String(said?.sandbox ?? "it cannot be built").slice(0, 500) };
  if (exitCode !== 0) return { server: `The sandbox ended with exit code ${exitCode}.` };
  if (typeof said?.reward === "number" && Number.isFinite(said.reward)) return { reward: said.reward };
  if (said?.fine === true) return { fine: true };
  if (typeof said?.runtime === "string") return { runtime: said.runtime.slice(0, 5000) };
  return { runtime: "The grader gave no result." };
}

/** The request as the sandbox reads it. */
export function requestOf(job: PythonJob, limits: PythonLimits, walls: "namespaces" | "container", hide: string[]) {
  const { seconds, memoryBytes: memory_bytes, diskBytes: disk_bytes } = limits;
  return JSON.stringify({ ...job, walls, seconds, memory_bytes, disk_bytes, hide });
}
