/**
 * Terminates one launch: SIGTERM to its process group, SIGKILL at the deadline, and deletion of its files after exit.
 */
import { join } from "node:path";
import type { Handle, ProviderHost, TerminateResult } from "../../src/contract/provider.ts";
import { DEFAULT_GRACE_S, killDeadline } from "../shared/kill-deadline.ts";
import { directoryOf, isKey, removeDirectory } from "./directory.ts";
import { readJson, readStatus, type StartedFile, workAlive } from "./state.ts";

async function signalGroup(started: StartedFile, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (!(await workAlive(started))) return;
  try {
    process.kill(-started.pid, signal);
  } catch {
    // The process exited before the signal.
  }
}

/** Takes one step of the termination. Call it again until the work is gone. */
export async function terminate(
  host: ProviderHost,
  { key }: Handle,
  graceS: number = DEFAULT_GRACE_S,
): Promise<TerminateResult> {
  if (!isKey(key)) return { gone: true };
  const directory = directoryOf(host, key);
  const { state } = await readStatus(directory, host.clock.now());
  if (state === "exited" || state === "absent") {
    await removeDirectory(host, key);
    return { gone: true };
  }
  const started = await readJson<StartedFile>(join(directory, "started.json"));
  if (!started) return { gone: false, againAfterS: 1 };
  const { at } = await killDeadline(directory, host.clock.now(), graceS);
  await signalGroup(started, host.clock.now() >= at ? "SIGKILL" : "SIGTERM");
  return { gone: false, againAfterS: 0.2 };
}
