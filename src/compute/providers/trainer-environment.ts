/** The trainer environment as providers ask for it: ready at once, or being made in the background while they wait. */
import type { Config } from "../../config.ts";
import type { ProviderHost } from "../../contract/provider.ts";
import type { Files } from "../../lib/disk/files.ts";
import type { Log } from "../../lib/log.ts";
import { ensureTrainerEnvironment, readyTrainerEnvironment, type TrainerEnvironment } from "../environment/install.ts";
import { providerError } from "./host.ts";

/** How long a failed installation is left alone before the next one. */
const RETRY_AFTER_MS = 60_000;

interface EnvironmentKeeper {
  /** The host tool `trainer()` of providers. */
  trainer: ProviderHost["trainer"];
  /** What is going on, for people; null when nothing is. */
  progress(): string | null;
}

/** Asks never block for the minutes an installation takes: it runs once in the background and later asks find it. */
export function keepEnvironment(config: Config, files: Files, log: Log, signal: AbortSignal): EnvironmentKeeper {
  let ready: TrainerEnvironment | null = null;
  let installing = false;
  let word: string | null = null;
  let failed: { at: number; error: unknown } | null = null;

  async function install(): Promise<void> {
    installing = true;
    let told = "";
    try {
      ready = await ensureTrainerEnvironment(
        config,
        files,
        (message, fraction) => {
          word = fraction === null ? message : `${message} (${Math.round(fraction * 100)}%)`;
          if (message !== told) log("info", message);
          told = message;
        },
        signal,
      );
      failed = null;
    } catch (error) {
      failed = { at: Date.now(), error };
      log("error", "the trainer environment could not be made", { cause: error });
    } finally {
      installing = false;
      word = null;
    }
  }

  return {
    progress: () => word,
    async trainer() {
      ready ??= installing ? null : await readyTrainerEnvironment(config, files);
      if (ready) return { python: ready.python, dir: ready.trainerDir };
      if (failed && Date.now() - failed.at < RETRY_AFTER_MS) {
        const message = failed.error instanceof Error ? failed.error.message : String(failed.error);
        throw providerError("transient", `The trainer environment cannot be made: ${message}`, {
          retryAfterS: (failed.at + RETRY_AFTER_MS - Date.now()) / 1000,
          cause: failed.error,
        });
      }
      if (!installing) void install();
      throw providerError("transient", word ?? "The trainer environment is being installed", { retryAfterS: 2 });
    },
  };
}
