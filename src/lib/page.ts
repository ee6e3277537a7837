/** Cursor paging in OpenAI's form: `{object: "list", data, first_id, last_id, has_more}`. */
import * as v from "valibot";
import { id, whole } from "./request-fields.ts";

/** The `limit` of a list's query: 1 to 100. */
export const pageLimit = (fallback = 20) => v.optional(whole(1, 100), fallback);

/** Query of a list: `limit` 1 to 100 (20), `after` the last id of the previous page. */
export const PageQuery = v.strictObject({ limit: pageLimit(), after: v.optional(id) });
export type PageQuery = v.InferOutput<typeof PageQuery>;

/** Query of a list of objects that somebody created. */
export const CreatedPageQuery = v.strictObject({
  ...PageQuery.entries,
  /** Id of the account that created them; `me` for the caller. */
  created_by: v.optional(id),
});
export type CreatedPageQuery = v.InferOutput<typeof CreatedPageQuery>;

interface Page<T> {
  object: "list";
  data: T[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
}

/** A page of a list in the UI: rows, and whether there are more after `last`. */
export interface Listed<T> {
  items: T[];
  hasMore: boolean;
  last: string | null;
}

/** Makes a page of the UI from `limit + 1` fetched rows. */
export function listed<T extends { id: string }>(rows: T[], limit: number): Listed<T> {
  const items = rows.slice(0, limit);
  return { items, hasMore: rows.length > limit, last: items.at(-1)?.id ?? null };
}

/** Makes a page of the API from `limit + 1` fetched rows: the extra row only shows that there are more. */
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

/** The schema of a list that is never divided into pages. */
export const wholeListOf = <T extends v.GenericSchema>(item: T) =>
  v.strictObject({ object: v.literal("list"), data: v.array(item), has_more: v.literal(false) });

/** A list that is never divided into pages. */
export const wholeList = <T>(data: T[]) => ({ object: "list" as const, data, has_more: false as const });
