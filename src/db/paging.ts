/** Conditions that lists share: rows older than a cursor, and text that contains a search term. */
import { type Column, type SQL, type SQLWrapper, sql } from "drizzle-orm";

/**
 * Rows after `cursor` in a list sorted by `createdAt` and `id`, both descending.
 * @returns undefined without a cursor, which drizzle leaves out of an `and`
 */
export function olderThan(
  table: { createdAt: Column; id: Column },
  cursor: { createdAt: number; id: string } | null | undefined,
): SQL | undefined {
  return cursor ? sql`(${table.createdAt}, ${table.id}) < (${cursor.createdAt}, ${cursor.id})` : undefined;
}

/** The LIKE pattern of a text that contains `term`; `%` and `_` in the term stand for themselves. */
export const containing = (term: string): string => `%${term.replace(/[\\%_]/g, (char) => `\\${char}`)}%`;

/** Whether `text` matches a pattern of `containing`, in any case of ASCII letters. */
export const like = (text: SQLWrapper, pattern: unknown): SQL => sql`${text} like ${pattern} escape '\\'`;
