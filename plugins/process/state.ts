/** The state of one launch on disk: the files that the launcher writes, and the status derived from them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { WorkStatus } from "../../src/contract/provider.ts";

/** The longest time from the creation of the directory to `started.json`. */
const START_WINDOW_MS = 15_000;

/** Written by the provider before the start. It has no secrets: these are passed only in the environment. */
export interface LaunchFile {
  key: string;
  labels: Record<string, string>;
  installation: string;
  argv: string[];
  cwd: string;
  nice: number;
  log_bytes: number;
  deadline: number;
  grace_s: number;
  created_at: number;
}

/** Written by the process just before exec. PID, start time and boot id identify it even when the PID is reused. */
export interface StartedFile {
  pid: number;
  start_time: number;
  boot_id: string;
  launcher_pid: number;
  launcher_start_time: number;
  at: number;
  /** Started by the warm launcher. */
  warm?: boolean;
}

interface ExitFile {
  exit_code: number;
  reason: string | null;
  at: number;
}

/** A JSON file; null when it is missing or incomplete. */
export async function readJson<T>(path: string): Promise<T | null> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as T;
  } catch {
    return null;
  }
}

async function startTimeOf(pid: number): Promise<number | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : Number(fields[19]);
  } catch {
    return null;
  }
}

async function alive(pid: number, startTime: number, bootId: string): Promise<boolean> {
  if ((await startTimeOf(pid)) !== startTime) return false;
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim() === bootId;
}

/** True while the process of `started` is alive. */
export function workAlive(started: StartedFile): Promise<boolean> {
  return alive(started.pid, started.start_time, started.boot_id);
}

export const ABSENT: WorkStatus = { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };

function exited(exit: ExitFile, started: StartedFile | null): WorkStatus {
  return {
    state: "exited",
    exitCode: exit.exit_code,
    reason: exit.reason,
    startedAt: started?.at ?? null,
    endedAt: exit.at,
  };
}

/** The status of a launch from its directory. It also works when the launcher was killed. */
export async function readStatus(directory: string, now: number): Promise<WorkStatus> {
  const launch = await readJson<LaunchFile>(join(directory, "launch.json"));
  if (!launch) return ABSENT;
  const exitPath = join(directory, "exit.json");
  const started = await readJson<StartedFile>(join(directory, "started.json"));
  const exit = await readJson<ExitFile>(exitPath);
  if (exit) return exited(exit, started);
  if (!started) return now - launch.created_at < START_WINDOW_MS ? { ...ABSENT, state: "starting" } : ABSENT;
  const running: WorkStatus = { ...ABSENT, state: "running", startedAt: started.at };
  if (await workAlive(started)) return running;
  // The process exited. A running launcher ends leftover processes and then writes the exit file.
  if (await alive(started.launcher_pid, started.launcher_start_time, started.boot_id)) return running;
  const late = await readJson<ExitFile>(exitPath);
  if (late) return exited(late, started);
  return {
    state: "exited",
    exitCode: null,
    reason: "ended together with its launcher (killed, or the machine was restarted)",
    startedAt: started.at,
    endedAt: null,
  };
}
