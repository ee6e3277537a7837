/** Opens the libSQL database: one connection for reads, one for the writer queue, both in WAL mode. */
import { type Client, createClient } from "@libsql/client";
import { drizzle } from "drizzle-orm/libsql";
import type { AppError } from "../errors.ts";
import { quickReader, quickWriter } from "./local-client.ts";
import { claimDatabase } from "./owner.ts";
import { remoteClient } from "./remote-client.ts";
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
  /** Resolves when another process has taken the database of a server; every write fails from then on. */
  lost: Promise<AppError>;
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
 * A client of `url`: of a libSQL server (`libsql://…`), or of a file (`file:/path`) with ONE connection, so that the
 * settings above apply to all its statements. A server refuses these settings; it has its own.
 */
export async function connect(url: string, authToken?: string): Promise<Client> {
  if (!url.startsWith("file:")) return remoteClient(url, authToken);
  const client = createClient({ url, concurrency: 1, timeout: 5000 });
  for (const pragma of PRAGMAS) await client.execute(pragma);
  return client;
}

/**
 * Opens the database. The caller holds the lock of `dataDir`: one process owns a file there. Of a database on a server
 * this process becomes the owner.
 * @throws AppError `database_in_use`, `database_unreachable`, `database_refused`, `database_missing`
 */
export async function openDatabase(url: string, dataDir: string, authToken?: string): Promise<Database> {
  return url.startsWith("file:") ? openFile(url) : openRemote(url, dataDir, authToken);
}

async function openRemote(url: string, dataDir: string, authToken?: string): Promise<Database> {
  const client = remoteClient(url, authToken);
  const owner = await claimDatabase(client, url, dataDir).catch((error) => {
    client.close();
    throw error;
  });
  const { marks } = owner;
  const writer = createWriter(async () => remoteClient(url, authToken, { marks }), { relaxes: false });
  return {
    db: drizzle(client),
    write: writer.write,
    emptyLog: async () => true,
    client,
    lost: new Promise((resolve) => owner.onLost(resolve)),
    async close() {
      await writer.close();
      await owner.release();
      client.close();
    },
  };
}

async function openFile(url: string): Promise<Database> {
  const client = await connect(url);
  const path = url.slice("file:".length);
  const reader = quickReader(path, client);
  const writer = createWriter(async () => quickWriter(path, await connect(url), PRAGMAS));
  return {
    db: drizzle(reader),
    write: writer.write,
    emptyLog: writer.emptyLog,
    client,
    lost: new Promise(() => {}),
    async close() {
      await writer.close();
      reader.close();
    },
  };
}
