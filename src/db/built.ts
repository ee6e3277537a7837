/**
 * Queries that are built once per database, because drizzle takes as long to build a query as SQLite takes to run a
 * small one.
 */
import { getTableColumns, type Table } from "drizzle-orm";
import type { Db } from "./types.ts";

/** Runs `build` once per database; it returns the `.prepare()` of a query whose values are placeholders. */
export function builtOnce<Q>(build: (db: Db) => Q): (db: Db) => Q {
  const made = new WeakMap<Db, Q>();
  return (db) => {
    let query = made.get(db);
    if (query === undefined) {
      query = build(db);
      made.set(db, query);
    }
    return query;
  };
}

/**
 * The result of `.values()` of a query of a whole table, as rows, for frequent lists. Drizzle's own mapping checks
 * every value for joins and nested fields.
 */
export function rowsOf<T extends Table>(table: T, values: readonly (readonly unknown[])[]): T["$inferSelect"][] {
  const columns = Object.entries(getTableColumns(table));
  return values.map((row) => {
    const made: Record<string, unknown> = {};
    for (const [at, [name, column]] of columns.entries()) {
      const value = row[at];
      made[name] = value === null ? null : column.mapFromDriverValue(value);
    }
    return made as T["$inferSelect"];
  });
}
