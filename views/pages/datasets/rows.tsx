/** The rows of a dataset, with search and paging. */
import { usePage } from "../../context.ts";
import { Filters, Tabs } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Pager } from "../../parts/table.tsx";
import { RowContent, type RowItem } from "./row-type.tsx";

/** One page of rows; `next` is the cursor of the page after it. */
export interface RowsShown {
  items: RowItem[];
  next: number | null;
  split: "train" | "holdout";
}

export function DatasetRows({ rows }: { rows: RowsShown | null }) {
  const { url } = usePage();
  if (!rows) return <section id="rows" />;
  return (
    <section id="rows" class="stack">
      <Tabs
        label="Split"
        name="split"
        fragment="rows"
        tabs={[
          { key: "train", label: "Training rows" },
          { key: "holdout", label: "Validation rows" },
        ]}
      />
      <Filters fragment="rows" search={{ placeholder: "Search rows" }}>
        {rows.split === "holdout" ? <input type="hidden" name="split" value="holdout" /> : null}
      </Filters>
      {rows.items.length === 0 ? (
        <Empty slim icon="search" title="No rows">
          {url.searchParams.get("q") ? "No row matches the search." : "There is no validation split."}
        </Empty>
      ) : (
        <ul class="stack">
          {rows.items.map((row) => (
            <li class="panel" id={`row-${row.id}`}>
              <header class="slim">
                <h2 class="small muted">Row {row.id}</h2>
              </header>
              <div class="body">
                <RowContent row={row} />
              </div>
            </li>
          ))}
        </ul>
      )}
      <Pager
        shown={rows.items.length}
        hasMore={rows.next !== null}
        last={rows.next === null ? null : String(rows.next)}
        fragment="rows"
        order="data"
      />
    </section>
  );
}
