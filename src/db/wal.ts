/**
 * Watches how large SQLite's write-ahead log is: a program that keeps a read transaction open for long lets it grow
 * without end.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { Files } from "../lib/disk/files.ts";
import type { Log } from "../lib/log.ts";

/** The log is cut back to this size by itself (`journal_size_limit`), and stays near 4 MiB while nobody holds it. */
const ALARM_BYTES = 64 * 2 ** 20;
const LOOK_MS = 10_000;
/** While it goes on, it is said again this often. */
const AGAIN_MS = 600_000;

/** What the watch needs; a context has all of it. */
interface WalTools {
  config: Pick<Config, "database_url">;
  files: Pick<Files, "root">;
  clock: Pick<Clock, "monotonic">;
  log: Log;
}

/**
 * Says in the log when the write-ahead log has grown beyond what it should, and when it is well again. Returns the
 * function that stops it.
 */
export function startWalWatch({ config, files, clock, log }: WalTools): () => void {
  if (config.database_url) return () => {};
  const path = join(files.root, "lab.db-wal");
  let saidAt: number | null = null;
  const look = async () => {
    const bytes = await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
    const now = clock.monotonic();
    if (bytes <= ALARM_BYTES) {
      if (saidAt !== null) log("info", "the database's write-ahead log is small again");
      saidAt = null;
    } else if (saidAt === null || now - saidAt > AGAIN_MS) {
      saidAt = now;
      const mib = Math.round(bytes / 2 ** 20);
      log(
        "warn",
        `The database's write-ahead log has grown to ${mib} MiB: another program keeps reading ${join(files.root, "lab.db")} (a backup tool, a database browser). End it; until then the log takes up disk space.`,
      );
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => clearInterval(timer);
}
