/** Opens every sealed value of a database and seals it again: with a new secret, or in the format of this version. */
import { sql } from "drizzle-orm";
import { seal, sealedWith, unseal, unsealEarlier } from "../lib/sealed.ts";
import { SEALED, type SealedColumn } from "./sealed-columns.ts";
import type { Db } from "./types.ts";

/** What became of the values. */
export interface Resealed {
  /** Values that could be opened. */
  opened: number;
  /** Column and row of values that could not; they stay as they are. */
  failed: string[];
}

interface Found {
  n: number;
  row: string;
  value: string;
  purpose: string | null;
}

const quoted = (name: string) => `"${name}"`;

/** Rows of a column with a secret in it. */
function rowsOf(tx: Db, { table, column, row, where, earlier }: SealedColumn): Promise<Found[]> {
  return tx.all<Found>(
    sql.raw(
      `select rowid as n, ${quoted(row)} as "row", ${quoted(column)} as value, ${earlier ?? "null"} as purpose
       from ${quoted(table)} where ${quoted(column)} is not null and ${where ?? "true"}`,
    ),
  );
}

/**
 * Seals everything with `to`, in the caller's transaction.
 * @param from the secret that opens what is stored
 */
export async function resealAll(tx: Db, from: string, to: string): Promise<Resealed> {
  const done: Resealed = { opened: 0, failed: [] };
  for (const column of SEALED)
    for (const { n, row, value, purpose } of await rowsOf(tx, column)) {
      const { kind, table, column: name, field } = column;
      const whole = field ? (JSON.parse(value) as Record<string, unknown>) : {};
      const sealed = field ? whole[field] : value;
      if (typeof sealed !== "string") continue;
      const place = { kind, row };
      let text: string;
      try {
        const old = purpose !== null && sealedWith(sealed) === null;
        text = old ? unsealEarlier(from, purpose, sealed) : unseal(from, place, sealed);
      } catch {
        done.failed.push(`${table}.${name} of ${row}`);
        continue;
      }
      done.opened++;
      const again = seal(to, place, text);
      const stored = field ? JSON.stringify({ ...whole, [field]: again }) : again;
      await tx.run(sql`update ${sql.identifier(table)} set ${sql.identifier(name)} = ${stored} where rowid = ${n}`);
    }
  return done;
}
