/**
 * A lock between processes on one file, for work that only one of them may do at a time. The system lets go of it when
 * its owner dies, however it dies.
 */
import { Database } from "bun:sqlite";

/**
 * Takes the lock at `path` (a tiny database of its own, held by an exclusive transaction) or returns null when another
 * has it. The function returned lets go.
 */
export function tryFileLock(path: string): (() => void) | null {
  const database = new Database(path, { create: true });
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if ((error as { code?: string }).code?.startsWith("SQLITE_BUSY")) return null;
    throw error;
  }
  return () => {
    database.run("ROLLBACK");
    database.close();
  };
}

/** Runs `work` while holding the lock; `onWait` is called once a second while another has it. */
export async function withFileLock<T>(
  path: string,
  onWait: () => void,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  let release = tryFileLock(path);
  while (!release) {
    signal?.throwIfAborted();
    onWait();
    await Bun.sleep(1000);
    release = tryFileLock(path);
  }
  try {
    return await work();
  } finally {
    release();
  }
}
