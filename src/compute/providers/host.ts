/**
 * Builds the tools a provider gets: everything it may touch of the world, named and bounded by its own id and folder.
 */
import { mkdirSync } from "node:fs";
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../contract/provider.ts";
import type { Clock } from "../../lib/clock.ts";
import { createInTurn, type InTurn } from "../../lib/in-turn.ts";
import type { Log } from "../../lib/log.ts";

/** What the host tools are made of. */
interface HostParts {
  installation: string;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  trainer: ProviderHost["trainer"];
  /** Absent where nobody knows: there is none then. */
  readyTrainer?: ProviderHost["readyTrainer"];
  /** The server's data directory; the provider's own folder when there is no server. */
  root?: string;
  /** Shared by all providers of one plugin, where there are several. */
  inTurn?: InTurn;
}

/** An error the scheduler understands; see the contract for the kinds. */
export function providerError(
  kind: ProviderErrorKind,
  message: string,
  options: { retryAfterS?: number; cause?: unknown; reason?: string } = {},
): ProviderFailure {
  const error = new Error(message, { cause: options.cause });
  const { retryAfterS = null, reason = null } = options;
  return Object.assign(error, { providerErrorKind: kind, retryAfterS, reason });
}

/** True for errors made by `providerError`. */
export function isProviderFailure(error: unknown): error is ProviderFailure {
  return error instanceof Error && "providerErrorKind" in error;
}

/** The tools for the provider called `id`; its own folder is `dataDir`, made when missing. */
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
