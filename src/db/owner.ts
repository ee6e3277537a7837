/**
 * Who works on a database of a libSQL server: one process at a time. Of a file the operating system knows that
 * (lock.ts); here a row names the owner until a time, which every write and a timer move on.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Client, ResultSet } from "@libsql/client";
import { AppError } from "../errors.ts";
import { randomChars } from "../lib/ids.ts";
import type { Marks } from "./remote-client.ts";

/** Time without a sign of the owner after which another process may take the database. */
const LEASE_MS = 30_000;
const RENEW_MS = 10_000;

/** The clock of the database server: those of two machines may differ. */
const NOW = "cast(unixepoch('subsec') * 1000 as integer)";
/** No migration has this table: it must be there before the first one, and files have none. */
const TABLE = `create table if not exists database_owner (id integer primary key check (id = 1), owner text not null,
  place text not null, machine text not null, pid integer not null, seen_at integer not null,
  expires_at integer not null, writes integer not null)`;

interface Owner {
  marks: Marks;
  /** Called once when another process has taken the database. */
  onLost(listener: (error: AppError) => void): void;
  /** Gives the database back. */
  release(): Promise<void>;
}

/** Another process that works on a database, by its last sign. */
interface Seen {
  machine: string;
  pid: number;
  agoS: number;
  freeInS: number;
}

/** Identifies a data directory: only one process has it, so the next one of it may take over at once. */
function placeOf(dataDir: string): string {
  const path = join(dataDir, "run", "database-owner");
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const place = randomChars(20);
  writeFileSync(path, place, { mode: 0o600 });
  return place;
}

/** Who works on the database now; null when nobody does, or nobody ever did. */
export async function readDatabaseOwner(client: Client): Promise<Seen | null> {
  const { rows } = await client.execute("select 1 from sqlite_master where name = 'database_owner'");
  if (rows.length === 0) return null;
  const found = await client.execute(
    `select machine, pid, ${NOW} - seen_at as ago, expires_at - ${NOW} as left from database_owner`,
  );
  const row = found.rows[0];
  if (!row || Number(row.left) <= 0) return null;
  const seconds = (value: unknown) => Math.max(0, Math.ceil(Number(value) / 1000));
  return { machine: String(row.machine), pid: Number(row.pid), agoS: seconds(row.ago), freeInS: seconds(row.left) };
}

const inUse = (host: string, seen: Seen | null) =>
  new AppError(
    "conflict",
    "database_in_use",
    `The database at ${host} is in use by another Fine-Tune Lab${seen ? ` (process ${seen.pid} on the machine ${seen.machine}, last seen ${seen.agoS} s ago)` : ""}. Two on one database would do all work twice: stop the other one first.${seen ? ` If it is gone, this one can start in ${seen.freeInS} s.` : ""}`,
  );

/**
 * Makes this process the owner of the database.
 * @throws AppError `database_in_use` naming the process that works on it
 */
export async function claimDatabase(client: Client, url: string, dataDir: string): Promise<Owner> {
  const [owner, place] = [randomChars(20), placeOf(dataDir)];
  await client.execute(TABLE);
  const { rowsAffected } = await client.execute({
    sql: `insert into database_owner values (1, ?, ?, ?, ?, ${NOW}, ${NOW} + ${LEASE_MS}, 0) on conflict (id) do update
      set owner = excluded.owner, place = excluded.place, machine = excluded.machine, pid = excluded.pid,
      seen_at = excluded.seen_at, expires_at = excluded.expires_at
      where database_owner.expires_at <= ${NOW} or database_owner.place = excluded.place`,
    args: [owner, place, hostname(), process.pid],
  });
  if (rowsAffected === 0) throw inUse(new URL(url).host, await readDatabaseOwner(client));
  const { rows } = await client.execute("select writes from database_owner");
  let writes = Number(rows[0]?.writes ?? 0);

  const listeners = new Set<(error: AppError) => void>();
  let taken: AppError | null = null;
  function lost(): AppError {
    if (!taken) {
      taken = new AppError(
        "unavailable",
        "database_taken",
        "Another Fine-Tune Lab has taken the database, because this one could not reach it for a while. This one writes nothing more and stops.",
      );
      for (const listener of listeners) listener(taken);
    }
    return taken;
  }

  const touch = `seen_at = ${NOW}, expires_at = ${NOW} + ${LEASE_MS} where id = 1 and owner = ?`;
  const renew = (): Promise<ResultSet | null> =>
    client.execute({ sql: `update database_owner set ${touch}`, args: [owner] }).catch(() => null);
  const timer = setInterval(async () => {
    if ((await renew())?.rowsAffected === 0) lost();
  }, RENEW_MS);
  timer.unref();

  return {
    marks: {
      next() {
        const mark = ++writes;
        return { statement: { sql: `update database_owner set writes = ?, ${touch}`, args: [mark, owner] }, mark };
      },
      find: { sql: "select writes from database_owner where owner = ?", args: [owner] },
      lost,
    },
    onLost(listener) {
      listeners.add(listener);
      if (taken) listener(taken);
    },
    async release() {
      clearInterval(timer);
      await client
        .execute({ sql: "update database_owner set expires_at = 0 where owner = ?", args: [owner] })
        .catch(() => {});
    },
  };
}
