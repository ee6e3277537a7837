/**
 * The writer queue: all writes of the process, one short transaction after the other. Two overlapping write
 * transactions freeze a libSQL process for the whole busy timeout, and a client that once saw SQLITE_BUSY fails every
 * later write batch (libsql-client-ts#352), so such a client is replaced.
 */
import type { Client } from "@libsql/client";
import { drizzle, type LibSQLDatabase } from "drizzle-orm/libsql";
import { AppError } from "../errors.ts";
import type { Db } from "./types.ts";

interface WriteOptions {
  /** For rows whose loss in a power failure is acceptable (metrics, logs): commits without waiting for the disk. */
  relaxed?: boolean;
}

/**
 * Runs `work` in one transaction and returns its result after commit. `work` must not use network, files or a second
 * write.
 */
export type Writer = <T>(work: (tx: Db) => Promise<T>, options?: WriteOptions) => Promise<T>;

/** Time that a write waits for another program to release the database, from its request. */
const BUSY_MS = 5000;
const BUSY_PAUSE_MS = 25;
/** Between two tries to empty the write-ahead log. */
const RETRY_LOG_MS = 5000;

function codeOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === "string" && code.startsWith("SQLITE_")) return code;
  }
  return "";
}

function isBusy(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error));
}

function translate(error: unknown): unknown {
  const code = codeOf(error);
  if (isBusy(error))
    return new AppError("unavailable", "database_busy", "The database is busy; try again in a moment.", {
      cause: error,
      retryAfterS: 1,
    });
  if (code.startsWith("SQLITE_FULL") || code.startsWith("SQLITE_IOERR"))
    return new AppError(
      "no_space",
      "disk_full",
      "The server could not write: its disk is full or failing. Nothing of this request was stored. Free some space and try again.",
      { cause: error },
    );
  return error;
}

/**
 * Creates the queue. `open` gives a new one-connection client, also to replace a failed one. `emptyLog` empties the
 * write-ahead log, where deleted rows remain until then; while another program reads, it is tried again later. A
 * libSQL server decides itself when it waits for its disk: with `relaxes` false, `relaxed` has no effect.
 */
export function createWriter(
  open: () => Promise<Client>,
  { busyMs = BUSY_MS, relaxes = true } = {},
): { write: Writer; emptyLog(): Promise<boolean>; close(): Promise<void> } {
  let current: { client: Client; db: LibSQLDatabase<Record<string, never>>; relaxed: boolean } | null = null;
  let tail: Promise<unknown> = Promise.resolve();

  async function connection() {
    if (!current) {
      const client = await open();
      current = { client, db: drizzle(client), relaxed: false };
    }
    return current;
  }

  /** One try; `begun` is called when the transaction has begun. */
  async function attempt<T>(work: (tx: Db) => Promise<T>, relaxed: boolean, begun: () => void): Promise<T> {
    const conn = await connection();
    if (relaxes && conn.relaxed !== relaxed) {
      await conn.client.execute(`PRAGMA synchronous = ${relaxed ? "NORMAL" : "FULL"}`);
      conn.relaxed = relaxed;
    }
    return conn.db.transaction((tx) => {
      begun();
      return work(tx);
    });
  }

  function throwAway(): void {
    current?.client.close();
    current = null;
  }

  /**
   * Tries until `deadline` to begin; `work` never runs twice. The process is free between two tries. The deadline
   * counts from the request, so that the last in the queue waits no longer than the first.
   */
  async function run<T>(work: (tx: Db) => Promise<T>, relaxed: boolean, deadline: number): Promise<T> {
    let ours = false;
    for (let pause = BUSY_PAUSE_MS; ; pause = Math.min(200, pause * 2)) {
      try {
        return await attempt(work, relaxed, () => {
          ours = true;
        });
      } catch (error) {
        if (!ours && isBusy(error) && performance.now() < deadline) {
          await Bun.sleep(pause);
          continue;
        }
        const code = codeOf(error);
        if (code && !code.startsWith("SQLITE_CONSTRAINT")) throwAway();
        throw translate(error);
      }
    }
  }

  /** The next try to empty the log, while another program reads it. */
  let retry: Timer | undefined;

  async function truncate(): Promise<boolean> {
    const { rows } = await (await connection()).client.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    return Number(rows[0]?.busy ?? 0) === 0;
  }
  async function emptyLog(): Promise<boolean> {
    clearTimeout(retry);
    const emptied = tail.then(truncate).catch(() => false);
    tail = emptied;
    if (await emptied) return true;
    retry = setTimeout(() => void emptyLog(), RETRY_LOG_MS);
    retry.unref();
    return false;
  }

  return {
    emptyLog,
    write(work, options = {}) {
      const deadline = performance.now() + busyMs;
      const result = tail.then(() => run(work, options.relaxed ?? false, deadline));
      tail = result.catch(() => {});
      return result;
    },
    async close() {
      clearTimeout(retry);
      await tail;
      throwAway();
    },
  };
}
