/** Opens the libSQL database: one connection for reads, one for the writer queue, both in WAL mode. */
import { type Client, createClient } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import { quickReader, quickWriter } from "./local-client.ts";
import type { Db } from "./types.ts";
import { createWriter, type Writer } from "./write.ts";

interface Database {
  /** For reads only. */
  db: Db;
  /** The only way to write; see write.ts. */
  write: Writer;
  /** Empties the write-ahead log of a local file, where deleted rows remain; false when it is tried again later. */
  emptyLog(): Promise<boolean>;
  client: Client;
  close(): Promise<void>;
}

/** A checkpoint waits for the disk and blocks the process, so it runs every 16 MB instead of every 4. */
const CHECKPOINT_PAGES = 4000;

const PRAGMAS = [
  "PRAGMA journal_mode = WAL",
  "PRAGMA synchronous = FULL",
  "PRAGMA foreign_keys = ON",
  "PRAGMA journal_size_limit = 67108864",
  `PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`,
  "PRAGMA temp_store = MEMORY",
  // Deleted rows are overwritten, not only unlinked.
  "PRAGMA secure_delete = ON",
];

/**
 * A client with ONE connection to `url` (`file:/path` or `libsql://…` for a remote server), so that the settings above
 * apply to all its statements.
 */
export async function connect(url: string, authToken?: string): Promise<Client> {
  const client = createClient({ url, authToken, concurrency: 1, timeout: 5000 });
  if (url.startsWith("file:")) for (const pragma of PRAGMAS) await client.execute(pragma);
  return client;
}

/** Opens the database. The caller holds the server lock: one process owns the file. */
export async function openDatabase(url: string, authToken?: string): Promise<Database> {
  const client = await connect(url, authToken);
  const path = url.startsWith("file:") ? url.slice("file:".length) : null;
  const reader = path ? quickReader(path, client) : client;
  const writer = createWriter(async () => {
    const fresh = await connect(url, authToken);
    return path ? quickWriter(path, fresh, PRAGMAS) : fresh;
  });
  return {
    db: drizzle(reader),
    write: writer.write,
    emptyLog: () => (path ? writer.emptyLog() : Promise.resolve(true)),
    client,
    async close() {
      await writer.close();
      reader.close();
    },
  };
}
