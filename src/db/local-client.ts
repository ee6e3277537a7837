/** Clients of a local database file with prepared statements (prepared.ts): one for reads, one for the writer queue. */
import type { Client, InArgs, InStatement, ResultSet, Transaction } from "@libsql/client";
import Libsql from "libsql";
import { type PreparedSql, positional, preparedSql } from "./prepared.ts";

const BUSY_MS = 5000;

/** `base` with some methods replaced. */
function overlay(base: Client, own: Partial<Client>): Client {
  return new Proxy(base, {
    get(target, name) {
      const value: unknown = Reflect.get(name in own ? own : target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** `base` with a faster `execute` on the same file. Statements without rows, and all other calls, use `base`. */
export function quickReader(path: string, base: Client): Client {
  const database = new Libsql(path, { timeout: BUSY_MS });
  database.exec("PRAGMA query_only = ON");
  database.exec("PRAGMA temp_store = MEMORY");
  const prepared = preparedSql(database);

  async function execute(given: InStatement | string, more?: InArgs): Promise<ResultSet> {
    const query = positional(given, more);
    if (query && prepared.returnsRows(query.sql)) return prepared.execute(query.sql, query.args);
    return base.execute(typeof given === "string" ? { sql: given, args: more ?? [] } : given);
  }

  return overlay(base, {
    execute: execute as Client["execute"],
    close() {
      prepared.clear();
      database.close();
      base.close();
    },
  });
}

/** Runs a statement with positional arguments; drizzle uses no named ones. */
function run(prepared: PreparedSql, given: InStatement | string, more?: InArgs): ResultSet {
  const query = positional(given, more);
  if (!query) throw new TypeError("arguments must be positional");
  return prepared.execute(query.sql, query.args);
}

/** A transaction on `database`, with statements from `prepared`. */
function beginWrite(database: Libsql.Database, prepared: PreparedSql): Transaction {
  let open = true;
  prepared.execute("BEGIN IMMEDIATE", []);
  async function execute(given: InStatement): Promise<ResultSet> {
    if (!open) throw new Error("the transaction is over");
    return run(prepared, given);
  }
  function close(): void {
    // On a full disk, SQLite rolls back by itself; a second ROLLBACK would hide that error.
    if (open && database.open && database.inTransaction) prepared.execute("ROLLBACK", []);
    open = false;
  }
  return {
    execute,
    async batch(statements) {
      const results: ResultSet[] = [];
      for (const statement of statements) results.push(await execute(statement));
      return results;
    },
    executeMultiple: async (sql) => void database.exec(sql),
    async commit() {
      if (!open) throw new Error("the transaction is over");
      prepared.execute("COMMIT", []);
      open = false;
    },
    rollback: async () => close(),
    close,
    get closed() {
      return !open;
    },
  };
}

/**
 * `base` with faster `execute` and `transaction`, on a separate connection configured by `pragmas`. The writer queue
 * ensures that only one transaction runs at a time.
 */
export function quickWriter(path: string, base: Client, pragmas: readonly string[]): Client {
  const database = new Libsql(path);
  // Waiting inside SQLite would block the whole process; the writer queue waits instead, between two tries.
  database.exec("PRAGMA busy_timeout = 0");
  for (const pragma of pragmas) database.exec(pragma);
  const prepared = preparedSql(database);

  async function execute(given: InStatement | string, more?: InArgs): Promise<ResultSet> {
    return run(prepared, given, more);
  }

  return overlay(base, {
    execute: execute as Client["execute"],
    transaction: async () => beginWrite(database, prepared),
    close() {
      prepared.clear();
      database.close();
      base.close();
    },
  });
}
