/** Gives providers the trainer environment, and installs it in the background when it is missing. */
import type { Config } from "../../config.ts";
import type { ProviderHost } from "../../contract/provider.ts";
import type { Files } from "../../lib/disk/files.ts";
import type { Log } from "../../lib/log.ts";
import { ensureTrainerEnvironment, readyTrainerEnvironment, type TrainerEnvironment } from "../environment/install.ts";
import { providerError } from "./host.ts";

/** Delay after a failed installation before the next one. */
const RETRY_AFTER_MS = 60_000;

interface EnvironmentKeeper {
  /** The host tool `trainer()` of providers. */
  trainer: ProviderHost["trainer"];
  /** The progress of the installation for display; null when none is running. */
  progress(): string | null;
  /** Why the last installation failed; null when it did not. */
  problem(): string | null;
}

/** Creates the keeper. Requests do not block during an installation; they fail as transient until it is done. */
export function keepEnvironment(config: Config, files: Files, log: Log, signal: AbortSignal): EnvironmentKeeper {
  let ready: TrainerEnvironment | null = null;
  let installing = false;
  let status: string | null = null;
  let failed: { at: number; error: unknown } | null = null;

  async function install(): Promise<void> {
    installing = true;
    let logged = "";
    try {
      ready = await ensureTrainerEnvironment(
        config,
        files,
        (message, fraction) => {
          status = fraction === null ? message : `${message} (${Math.round(fraction * 100)}%)`;
          if (message !== logged) log("info", message);
          logged = message;
        },
        signal,
      );
      failed = null;
    } catch (error) {
      failed = { at: Date.now(), error };
      log("error", "the trainer environment could not be installed", { cause: error });
    } finally {
      installing = false;
      status = null;
    }
  }

  const messageOf = (error: unknown) =>
    `The trainer environment could not be installed: ${error instanceof Error ? error.message : String(error)}`;

  return {
    progress: () => status,
    problem: () => failed && messageOf(failed.error),
    async trainer() {
      ready ??= installing ? null : await readyTrainerEnvironment(config, files);
      if (ready) return { python: ready.python, dir: ready.trainerDir };
      if (failed && Date.now() - failed.at < RETRY_AFTER_MS)
        throw providerError("transient", messageOf(failed.error), {
          retryAfterS: (failed.at + RETRY_AFTER_MS - Date.now()) / 1000,
          cause: failed.error,
        });
      if (!installing) void install();
      throw providerError("transient", status ?? "The trainer environment is being installed", { retryAfterS: 2 });
    },
  };
}
