/** The list table. Sorting, filtering and paging are links that the server answers. */
import type { ComponentChildren } from "preact";
import { usePage, withQuery } from "../context.ts";
import { Icon } from "./icons.tsx";

export interface Column<T> {
  key: string;
  label: string;
  render: (row: T) => ComponentChildren;
  /** Numbers: aligned to the end, in the monospace font. */
  end?: boolean;
  /** The label is only for screen readers. */
  hideLabel?: boolean;
  /** Hidden where the table is as narrow as on a phone. */
  wide?: boolean;
  /** Hidden earlier than `wide` columns, such as on a tablet. */
  extra?: boolean;
  /** Shown where there is room for everything: hidden beside the menu on medium screens too. */
  roomy?: boolean;
  /** Takes the remaining width and truncates long text; exactly one column has it. */
  name?: boolean;
  /** As narrow as its content. */
  tight?: boolean;
  /** Buttons of the row, at its end. */
  act?: boolean;
  /** Value of `?sort=` that orders by this column. */
  sort?: string;
}

const classesOf = <T,>(column: Column<T>) =>
  (["end", "wide", "extra", "roomy", "name", "tight", "act"] as const).filter((name) => column[name]).join(" ") ||
  undefined;

function Header<T>({ column, fragment }: { column: Column<T>; fragment?: string }) {
  const { url } = usePage();
  const classes = classesOf(column);
  const now = url.searchParams.get("sort");
  const dir = column.sort && now === column.sort ? "ascending" : now === `-${column.sort}` ? "descending" : undefined;
  if (!column.sort)
    return (
      <th scope="col" class={classes}>
        {column.hideLabel ? <span class="visually-hidden">{column.label}</span> : column.label}
      </th>
    );
  const href = withQuery(url, { sort: dir === "descending" ? column.sort : `-${column.sort}` });
  return (
    <th scope="col" class={classes} aria-sort={dir}>
      <a href={href} {...swap(href, fragment)}>
        {column.label} {dir ? <Icon name={dir === "ascending" ? "up" : "down"} /> : null}
      </a>
    </th>
  );
}

/**
 * htmx attributes that load `href` into the element `fragment` and update the address bar; without htmx the link loads
 * the page.
 */
export function swap(href: string, fragment: string | undefined): Record<string, string> {
  if (!fragment) return {};
  return { "hx-get": href, "hx-target": `#${fragment}`, "hx-push-url": "true", "hx-swap": "outerMorph" };
}

/** `label` names what the table lists; `fragment` is the id of the element that sorting and paging replace. */
export function Table<T>(props: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  rowId: (row: T) => string;
  fragment?: string;
  /** Rows are not links. */
  still?: boolean;
}) {
  return (
    <div class="table-wrap">
      <table class={props.still ? "list still" : "list"} aria-label={props.label}>
        <thead>
          <tr>
            {props.columns.map((column) => (
              <Header column={column} fragment={props.fragment} />
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row) => (
            <tr id={`row-${props.rowId(row)}`}>
              {props.columns.map((column) => (
                <td class={classesOf(column)}>{column.render(row)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The name cell of a row: the link that covers the row, and a secondary line under it. */
export function RowName({ href, name, sub }: { href: string; name: string; sub?: ComponentChildren }) {
  return (
    <>
      <a class="row-link" href={href} title={name} dir="auto">
        {name}
      </a>
      {sub ? <span class="sub">{sub}</span> : null}
    </>
  );
}

/** Who created the object of a row. */
export const CREATED_BY = {
  key: "creator",
  label: "Created by",
  roomy: true,
  render: ({ creator }: { creator: string | null }) => (
    <span class="muted clip words" title={creator ?? undefined} dir="auto">
      {creator ?? "–"}
    </span>
  ),
};

const WORDS = {
  time: ["Newest", "Newest first", "Older"],
  data: ["First rows", "In dataset order", "Next rows"],
  name: ["First rows", "All rows", "Next rows"],
  queue: ["Start of the queue", "In queue order", "Later in the queue"],
} as const;

/**
 * Links to the next page by cursor and back to the first. `last` is the id of the last row shown; `order` is the order
 * of the rows.
 */
export function Pager(props: {
  shown: number;
  hasMore: boolean;
  last: string | null;
  fragment?: string;
  order?: keyof typeof WORDS;
}) {
  const [back, order, on] = WORDS[props.order ?? "time"];
  const { url } = usePage();
  const after = url.searchParams.get("after");
  if (!after && !props.hasMore) return null;
  const first = withQuery(url, { after: null });
  const next = props.last ? withQuery(url, { after: props.last }) : null;
  return (
    <nav class="pager" aria-label="Pages">
      {after ? (
        <a class="button small" href={first} {...swap(first, props.fragment)}>
          <Icon name="left" />
          {back}
        </a>
      ) : (
        <span>{order}</span>
      )}
      {props.hasMore && next ? (
        <a class="button small" href={next} rel="next" {...swap(next, props.fragment)}>
          {on}
          <Icon name="right" />
        </a>
      ) : (
        <span>End of list</span>
      )}
    </nav>
  );
}

/**
 * htmx attributes of a live element: on a change of a topic it fetches this page and replaces itself from the answer.
 */
export function liveOn(url: URL, ...topics: string[]): Record<string, string> {
  return {
    "data-on": topics.join(" "),
    "hx-get": url.pathname + url.search,
    "hx-trigger": "refresh",
    "hx-target": "this",
    "hx-swap": "outerMorph",
    "hx-sync": "this:replace",
  };
}
