/** Creates the tools of a provider, its only access to the server: each is limited to the provider's id and folder. */
import { mkdirSync } from "node:fs";
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../contract/provider.ts";
import type { Clock } from "../../lib/clock.ts";
import { createInTurn, type InTurn } from "../../lib/in-turn.ts";
import type { Log } from "../../lib/log.ts";

/** The parts of the host tools. */
interface HostParts {
  installation: string;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  trainer: ProviderHost["trainer"];
  /** Absent when there is no trainer environment. */
  readyTrainer?: ProviderHost["readyTrainer"];
  /** The server's data directory; by default the provider's own folder. */
  root?: string;
  /** Shared by several providers of one plugin. */
  inTurn?: InTurn;
}

/** An error that the scheduler handles by its kind; see the contract for the kinds. */
export function providerError(
  kind: ProviderErrorKind,
  message: string,
  options: { retryAfterS?: number; cause?: unknown; reason?: string; vendorCode?: string } = {},
): ProviderFailure {
  const error = new Error(message, { cause: options.cause });
  const { retryAfterS = null, reason = null, vendorCode = null } = options;
  return Object.assign(error, { providerErrorKind: kind, retryAfterS, reason, vendorCode });
}

/** True for errors from `providerError`. */
export function isProviderFailure(error: unknown): error is ProviderFailure {
  return error instanceof Error && "providerErrorKind" in error;
}

/** Creates the tools of the provider `id`. Its own folder is `dataDir`, which is created when missing. */
export function createHost(id: string, dataDir: string, parts: HostParts): ProviderHost {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  return {
    installation: parts.installation,
    dataDir,
    root: parts.root ?? dataDir,
    fetch,
    log: (level, message, fields) => parts.log(level, message, { provider: id, ...fields }),
    clock: { now: () => parts.clock.now(), sleep: (ms, signal) => parts.clock.sleep(ms, signal) },
    signal: parts.signal,
    trainer: parts.trainer,
    readyTrainer: parts.readyTrainer ?? (async () => null),
    inTurn: parts.inTurn ?? createInTurn(),
    error: providerError,
  };
}
