/** Watches how large SQLite's write-ahead log is: a program that keeps a read transaction open for long lets it grow without end. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Ctx } from "../ctx.ts";

/** The log is cut back to this size by itself (`journal_size_limit`), and stays near 4 MiB while nobody holds it. */
const ALARM_BYTES = 64 * 2 ** 20;
const LOOK_MS = 10_000;
/** While it goes on, it is said again this often. */
const AGAIN_MS = 600_000;

/** Says in the log when the write-ahead log has grown beyond what it should, and when it is well again. Returns the function that stops it. */
export function startWalWatch(ctx: Ctx): () => void {
  if (ctx.config.database_url) return () => {};
  const path = join(ctx.files.root, "lab.db-wal");
  let saidAt: number | null = null;
  const look = async () => {
    const bytes = await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
    const now = ctx.clock.monotonic();
    if (bytes <= ALARM_BYTES) {
      if (saidAt !== null) ctx.log("info", "the database's write-ahead log is small again");
      saidAt = null;
    } else if (saidAt === null || now - saidAt > AGAIN_MS) {
      saidAt = now;
      const mib = Math.round(bytes / 2 ** 20);
      ctx.log(
        "warn",
        `The database's write-ahead log has grown to ${mib} MiB: another program keeps reading ${join(ctx.files.root, "lab.db")} (a backup tool, a database browser). End it; until then the log takes up disk space.`,
      );
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  return () => clearInterval(timer);
}
