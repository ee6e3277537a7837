/**
 * Prepared statements of one connection to a database file. The client of @libsql/client prepares every statement again
 * and defines every value of every row as a property: five to eight times the work of the statement itself.
 */
import type { InArgs, InStatement, ResultSet, Row } from "@libsql/client";
import type Libsql from "libsql";
import { lruOf } from "../lib/lru.ts";

const STATEMENTS = 300;
const VALUES = Symbol("values");

interface Prepared {
  statement: Libsql.Statement<unknown[]>;
  /** Null for a statement that returns no rows. */
  rows: RowShape | null;
}

interface RowShape {
  columns: string[];
  types: string[];
  /** Makes one row: values by index through the prototype, by name as own properties. */
  row(values: unknown[]): Row;
}

export interface PreparedSql {
  /** Runs a statement with arguments by position. */
  execute(sql: string, args: readonly unknown[]): ResultSet;
  /** Whether a statement returns rows. */
  returnsRows(sql: string): boolean;
  /** Drops every statement, before the connection is closed. */
  clear(): void;
}

/** SQLite has no booleans and dates, and this driver returns blobs as buffers instead of ArrayBuffers. */
function toSql(value: unknown): unknown {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "number" && !Number.isFinite(value))
    throw new RangeError("NaN and infinite numbers cannot be sent to the database; null can");
  if (value instanceof Date) return value.getTime();
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (value === undefined) throw new TypeError("undefined cannot be sent to the database; null can");
  return value;
}

function fromSql(value: unknown): unknown {
  if (!(value instanceof Uint8Array)) return value;
  return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
}

function rowMaker(columns: string[]): RowShape["row"] {
  const shape: PropertyDescriptorMap = { length: { value: columns.length } };
  columns.forEach((_, at) => {
    shape[at] = {
      get(this: { [VALUES]: unknown[] }) {
        return this[VALUES][at];
      },
    };
  });
  // The first of two columns with one name wins, as with the client.
  const names = [...new Set(columns)].map((name) => ({ name, at: columns.indexOf(name) }));
  const prototype = Object.create(Object.prototype, shape) as object;
  return (values) => {
    const row = Object.create(prototype) as Record<string | symbol, unknown>;
    row[VALUES] = values;
    for (const { name, at } of names) row[name] = values[at];
    return row as unknown as Row;
  };
}

function shapeOf(statement: Libsql.Statement<unknown[]>): RowShape {
  const found = statement.columns();
  const columns = found.map((column) => column.name);
  return { columns, types: found.map((column) => column.type ?? ""), row: rowMaker(columns) };
}

/** A statement and its arguments by position, or null for named arguments, which the client handles. */
export function positional(given: InStatement | string, more?: InArgs): { sql: string; args: unknown[] } | null {
  const { sql, args } = typeof given === "string" ? { sql: given, args: more } : given;
  return args === undefined || Array.isArray(args) ? { sql, args: args ?? [] } : null;
}

/** Keeps up to 300 prepared statements of `database`. */
export function preparedSql(database: Libsql.Database): PreparedSql {
  const known = lruOf<Prepared>(STATEMENTS);

  function prepare(sql: string): Prepared {
    const before = known.get(sql);
    if (before) return before;
    const statement = database.prepare(sql) as Libsql.Statement<unknown[]>;
    const made = { statement, rows: statement.reader ? shapeOf(statement.raw(true)) : null };
    known.set(sql, made);
    return made;
  }

  return {
    execute(sql, args) {
      const query = prepare(sql);
      const values = args.map(toSql);
      if (!query.rows) {
        const { changes, lastInsertRowid } = query.statement.run(values);
        const result = { columns: [], columnTypes: [], rows: [], rowsAffected: changes };
        return { ...result, lastInsertRowid: BigInt(lastInsertRowid), toJSON: () => result };
      }
      const found = query.statement.all(values) as unknown[][];
      // The table was altered: the driver recompiles the statement by itself, and its columns are read again here.
      if (found[0] && found[0].length !== query.rows.columns.length) query.rows = shapeOf(query.statement);
      const { columns, types, row } = query.rows;
      return {
        columns,
        columnTypes: types,
        rows: found.map((each) => row(each.map(fromSql))),
        rowsAffected: 0,
        lastInsertRowid: undefined,
        toJSON: () => ({ columns, rows: found }),
      };
    },
    returnsRows: (sql) => prepare(sql).rows !== null,
    clear: () => known.clear(),
  };
}
