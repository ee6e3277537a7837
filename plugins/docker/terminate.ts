/** Terminates one container: SIGTERM, SIGKILL at the deadline, and removal with its files after it stopped. */
import { join } from "node:path";
import type { Handle, TerminateResult } from "../../src/contract/provider.ts";
import { DEFAULT_GRACE_S, killDeadline } from "../shared/kill-deadline.ts";
import { engineFailure, statusOf as httpStatus } from "./errors.ts";
import { forget } from "./local-files.ts";
import { within } from "./machines.ts";
import { type Found, find, isKey, type Parts, remove } from "./parts.ts";

const AGAIN: TerminateResult = { gone: false, againAfterS: 0.2 };

/** Sends a signal. A container that stopped or was removed in the meantime needs none. */
async function signal({ host }: Parts, { engine, container, info }: Found, name: "SIGTERM" | "SIGKILL"): Promise<void> {
  try {
    // A paused container receives no signals.
    if (info.State.Paused) await within(container.unpause());
    await within(container.kill({ signal: name }));
  } catch (error) {
    if (![404, 409].includes(httpStatus(error) ?? 0)) throw engineFailure(host, engine, error);
  }
}

/** Takes one step of the termination. Call it again until the work is gone. */
export async function terminate(
  parts: Parts,
  handle: Handle,
  graceS: number = DEFAULT_GRACE_S,
): Promise<TerminateResult> {
  const { host } = parts;
  if (!isKey(handle.key)) return { gone: true };
  const found = await find(parts, handle);
  if (!found?.info.State.Running) {
    if (found && (await remove(host, found)) === "later") return AGAIN;
    await forget(host, handle.key);
    return { gone: true };
  }
  const now = host.clock.now();
  const { at, asked } = await killDeadline(join(host.dataDir, handle.key), now, graceS);
  if (now >= at) await signal(parts, found, "SIGKILL");
  else if (!asked) await signal(parts, found, "SIGTERM");
  return AGAIN;
}
