/** Cursor paging in OpenAI's form: `{object: "list", data, first_id, last_id, has_more}`. */
import * as v from "valibot";

interface Page<T> {
  object: "list";
  data: T[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
}

/** What a list on a page shows: rows, and whether there are more after `last`. */
export interface Listed<T> {
  items: T[];
  hasMore: boolean;
  last: string | null;
}

/** The rows to show of `limit + 1` fetched ones. */
export function listed<T extends { id: string }>(rows: T[], limit: number): Listed<T> {
  const items = rows.slice(0, limit);
  return { items, hasMore: rows.length > limit, last: items.at(-1)?.id ?? null };
}

/** Makes a page from `limit + 1` fetched rows: the one too many only says that there is more. */
export function pageOf<T extends { id: string }>(rows: T[], limit: number): Page<T> {
  const data = rows.slice(0, limit);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: rows.length > limit,
  };
}

/** The schema of a page of `item`, as `pageOf` makes it. */
export const listOf = <T extends v.GenericSchema>(item: T) =>
  v.strictObject({
    object: v.literal("list"),
    data: v.array(item),
    first_id: v.nullable(v.string()),
    last_id: v.nullable(v.string()),
    has_more: v.boolean(),
  });
