/**
 * A lock between processes, for work that only one of them may do at a time. The operating system releases it when its
 * owner dies, even after SIGKILL.
 */
import { Database } from "bun:sqlite";

/**
 * Acquires the lock at `path`: a small database with an open exclusive transaction.
 * @returns the function that releases it, or null when another process holds it
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

/** Runs `work` while holding the lock; `onWait` is called once a second while another process holds it. */
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
