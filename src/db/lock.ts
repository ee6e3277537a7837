/**
 * The server lock: one process owns a data directory. The operating system releases it when the process dies, even
 * after SIGKILL.
 */
import { Database } from "bun:sqlite";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../errors.ts";

/** The content of `run/owner.json`: the owner of a data directory. */
interface Owner {
  pid: number;
  /** Its address, once it listens. */
  url: string | null;
  adminSocket: string | null;
}

export interface Lock {
  /** Replaces `run/owner.json`. */
  announce(owner: Omit<Owner, "pid">): void;
  release(): void;
}

const ownerPath = (dataDir: string) => join(dataDir, "run", "owner.json");

/** The last recorded owner of the directory, or null. It may be dead: only the lock shows that. */
export function readOwner(dataDir: string): Owner | null {
  const path = ownerPath(dataDir);
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Owner;
  } catch {
    return null;
  }
}

/**
 * Holds an exclusive transaction, never committed, on a small database of its own.
 * @returns the function that ends it
 * @throws Error when another process holds it
 */
export function holdLock(path: string): () => void {
  const database = new Database(path, { create: true });
  try {
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    throw cause;
  }
  return () => {
    database.run("ROLLBACK");
    database.close();
  };
}

/**
 * Acquires the lock of a data directory (`run/lock.db`).
 * @throws AppError `data_dir_in_use` naming the process that holds it
 */
export function acquireLock(dataDir: string): Lock {
  let release: () => void;
  try {
    release = holdLock(join(dataDir, "run", "lock.db"));
  } catch (cause) {
    const owner = readOwner(dataDir);
    throw new AppError(
      "conflict",
      "data_dir_in_use",
      `The data directory ${dataDir} is in use by another Fine-Tune Lab${owner ? ` (process ${owner.pid}${owner.url ? `, at ${owner.url}` : ""})` : ""}. Stop it first, or choose another directory with --data.`,
      { cause },
    );
  }
  const announce: Lock["announce"] = (owner) =>
    writeFileSync(ownerPath(dataDir), JSON.stringify({ pid: process.pid, ...owner }), { mode: 0o600 });
  announce({ url: null, adminSocket: null });
  return { announce, release };
}
