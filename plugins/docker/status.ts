/**
 * Reads the status of a container, and the reason for its exit from the engine's record, its events and its last output
 * lines.
 */
import type Docker from "dockerode";
import type { WorkStatus } from "../../src/contract/provider.ts";

/** After this time, a created container that was not started counts as a failed launch. */
const START_WINDOW_MS = 60_000;
export const TAIL_LINES = 60;

export const ABSENT: WorkStatus = { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };

/** Output lines that indicate a lost GPU: the driver was unloaded, or the GPU fell off the bus. */
const GPU_LOST =
  /Failed to initialize NVML|Unable to determine the device handle|GPU is lost|fallen off the bus|no CUDA-capable device is detected|uncorrectable ECC error|CUDA error: (unspecified launch failure|an illegal instruction|device-side assert.*Xid)/i;
const DISK_FULL = /no space left on device/i;
/** Output lines of a container whose program cannot be started. */
const NOT_STARTED = /exec .{0,500} failed: |executable file not found|No module named '?finetune_trainer/;

/** Milliseconds since 1970; the engine writes the year 1 for "never". */
function time(text: string | undefined): number | null {
  const at = Date.parse(text ?? "");
  return at > 0 ? at : null;
}

/** Data that is fetched only when a container failed. */
export interface Evidence {
  tail(): Promise<string[]>;
  /** True when the engine recorded an out-of-memory kill in the container. */
  oomEvent(): Promise<boolean>;
}

async function reasonOf(container: Docker.ContainerInspectInfo, evidence: Evidence): Promise<string | null> {
  const { State, HostConfig } = container;
  if (State.ExitCode === 0) return null;
  const limit = Math.round((HostConfig.Memory ?? 0) / 2 ** 20);
  if (State.OOMKilled || (State.ExitCode === 137 && (await evidence.oomEvent())))
    return `killed: out of memory (its limit is ${limit} MB)`;
  if (State.Error) return `could not start: ${State.Error.replace(/\s+/g, " ").slice(0, 300)}`;
  const lines = await evidence.tail();
  const found = (pattern: RegExp) =>
    lines
      .findLast((line) => pattern.test(line))
      ?.trim()
      .slice(0, 300);
  const gpu = found(GPU_LOST);
  if (gpu) return `the GPU was lost: ${gpu}`;
  const disk = found(DISK_FULL);
  if (disk) return `no space left on its disk: ${disk}`;
  const start = [126, 127].includes(State.ExitCode) ? lines.at(-1) : found(NOT_STARTED);
  return start ? `could not start: ${start.trim().slice(0, 300)}` : null;
}

/** The status of one container. `now` in milliseconds. */
export async function statusOf(
  container: Docker.ContainerInspectInfo,
  evidence: Evidence,
  now: number,
): Promise<WorkStatus> {
  const { State } = container;
  const startedAt = time(State.StartedAt);
  if (State.Status === "created") {
    const broken = State.Error || now - (time(container.Created) ?? now) > START_WINDOW_MS;
    if (!broken) return { ...ABSENT, state: "starting" };
    const reason = `could not start: ${State.Error || "it was created but never started"}`;
    return { ...ABSENT, state: "exited", exitCode: State.Error ? State.ExitCode : null, reason };
  }
  if (State.Status !== "exited" && State.Status !== "dead")
    return { state: "running", exitCode: null, reason: null, startedAt, endedAt: null };
  return {
    state: "exited",
    exitCode: State.ExitCode,
    reason: await reasonOf(container, evidence),
    startedAt,
    endedAt: time(State.FinishedAt),
  };
}

/** The text of framed engine output (8 bytes of stream and length before each piece). */
export function unframe(framed: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 8 <= framed.length; ) {
    const length = framed.readUInt32BE(at + 4);
    pieces.push(framed.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(pieces).toString("utf8");
}

/** The last lines of a container, at most `tail`. */
export async function lastLines(container: Docker.Container, tail: number): Promise<string[]> {
  const framed = await container.logs({ follow: false, stdout: true, stderr: true, tail });
  const lines = unframe(framed).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.slice(-tail);
}
