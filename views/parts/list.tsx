/**
 * The page of a list: filters, the live table, paging, and an explanation while the list is empty.
 */
import type { ComponentChildren } from "preact";
import type { Listed } from "../../src/lib/page.ts";
import { usePage } from "../context.ts";
import { Layout } from "../layout.tsx";
import { Filters } from "./form.tsx";
import { Empty } from "./notice.tsx";
import { type Column, liveOn, Pager, Table } from "./table.tsx";

export interface ListKind<T> {
  /** Id of the element that filters, paging and the stream replace. */
  id: string;
  /** What the table lists: `Evaluations`. */
  label: string;
  columns: Column<T>[];
  rowId: (row: T) => string;
  /** Topics that refresh the list. */
  topics: string[];
  /** Placeholder of the search field; no field when absent. */
  search?: string;
  /** What the list is for and how it is filled; shown while it is empty. */
  empty: () => ComponentChildren;
}

/** The part that is replaced: the table, or why it is empty. */
export function List<T>({ of, items, hasMore, last, note }: Listed<T> & { of: ListKind<T>; note?: string }) {
  const { url } = usePage();
  const filtered = [...url.searchParams].some(([name, value]) => value && !["tab", "after"].includes(name));
  const all = url.searchParams.has("tab") ? `${url.pathname}?tab=${url.searchParams.get("tab")}` : url.pathname;
  return (
    <section id={of.id} class="panel" aria-label={of.label} {...liveOn(url, ...of.topics)}>
      {items.length ? (
        <>
          {note ? (
            <p class="list-note" role="status">
              {note}
            </p>
          ) : null}
          <Table label={of.label} columns={of.columns} rows={items} rowId={of.rowId} fragment={of.id} />
          <Pager shown={items.length} hasMore={hasMore} last={last} fragment={of.id} />
        </>
      ) : filtered ? (
        <Empty
          icon="search"
          title="No matches"
          action={
            <a class="button" href={all}>
              Show all
            </a>
          }
        >
          Try fewer words or another filter.
        </Empty>
      ) : (
        of.empty()
      )}
    </section>
  );
}

/** A whole page of one list. `children` are above it, `below` under it, `filters` beside its search field. */
export function ListPage<T>(
  props: Listed<T> & {
    title: string;
    of: ListKind<T>;
    actions?: ComponentChildren;
    filters?: ComponentChildren;
    /** At the right end of the filters. */
    beside?: ComponentChildren;
    children?: ComponentChildren;
    below?: ComponentChildren;
  },
) {
  const { url } = usePage();
  const { title, of, actions, filters, beside, children, below, ...rows } = props;
  // No search field above an empty list.
  const search = of.search && (rows.items.length > 0 || url.search) ? { placeholder: of.search } : undefined;
  return (
    <Layout title={title} live={{ topics: of.topics }} actions={actions}>
      <div class="stack">
        {children}
        {search ? (
          <div class="row between">
            <Filters fragment={of.id} search={search}>
              {filters}
            </Filters>
            {beside}
          </div>
        ) : null}
        <List of={of} {...rows} />
        {below}
      </div>
    </Layout>
  );
}
