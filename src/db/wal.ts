/**
 * Watches the size of SQLite's write-ahead log, which grows without limit while another program keeps a read
 * transaction open.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { Files } from "../lib/disk/files.ts";
import type { Log } from "../lib/log.ts";

/** SQLite truncates the log to this size (`journal_size_limit`); without readers it stays near 4 MiB. */
const ALARM_BYTES = 64 * 2 ** 20;
const LOOK_MS = 10_000;
/** Interval of repeated warnings. */
const AGAIN_MS = 600_000;

/** The parts of a context that the watch needs. */
interface WalTools {
  config: Pick<Config, "database_url">;
  files: Pick<Files, "root">;
  clock: Pick<Clock, "monotonic">;
  log: Log;
}

/**
 * Logs when the write-ahead log is too large, and when it is small again.
 * @returns the function that stops the watch
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
        `The database's write-ahead log has grown to ${mib} MiB: another program keeps reading ${join(files.root, "lab.db")} (a backup tool, a database browser). End it; until then the log uses disk space.`,
      );
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => clearInterval(timer);
}
