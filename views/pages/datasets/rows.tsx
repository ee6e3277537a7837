/** The rows of a dataset, with search, filters and paging. */
import type { DatasetRow } from "../../../src/data/validation/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { usePage } from "../../context.ts";
import { FilterSelect, Filters, Tabs } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { liveOn, Pager } from "../../parts/table.tsx";
import { RowContent, type RowItem } from "./row-type.tsx";

/** One page of rows; `next` is the cursor of the page after it. */
export interface RowsShown {
  items: RowItem[];
  next: number | null;
  split: "train" | "holdout";
}

interface RowsProps {
  dataset: DatasetRow;
  report: Report | null;
  rows: RowsShown | null;
  /** The rows can be edited. */
  editable: boolean;
}

const ROLES: [string, string][] = [
  ["", "all rows"],
  ["system", "with a system message"],
  ["tool", "with a tool result"],
  ["tool_calls", "with tool calls"],
];

/** The numbers of characters that rows can be filtered by. */
function Length({ name, label }: { name: string; label: string }) {
  const value = usePage().url.searchParams.get(name) ?? "";
  return (
    <input
      name={name}
      value={value}
      placeholder={label}
      aria-label={label}
      inputmode="numeric"
      size={9}
      autocomplete="off"
    />
  );
}

function RowFilters({ report, split }: { report: Report | null; split: string }) {
  const labels = report?.label_counts ?? [];
  const problems = report?.problems.filter(({ severity, code }) => severity === "warning" && code !== "few_rows") ?? [];
  return (
    <Filters fragment="rows" search={{ placeholder: "Search rows" }}>
      {split === "holdout" ? <input type="hidden" name="split" value="holdout" /> : null}
      {report?.row_type === "text" ? null : <FilterSelect name="role" label="Roles" options={ROLES} />}
      {labels.length > 0 ? (
        <FilterSelect
          name="label"
          label="Label"
          options={[["", "all labels"], ...labels.map(({ label }): [string, string] => [label, label.slice(0, 60)])]}
        />
      ) : null}
      {problems.length > 0 ? (
        <FilterSelect
          name="problem"
          label="Problem"
          options={[
            ["", "any or no problem"],
            ...problems.map(({ code, message }): [string, string] => [code, message.slice(0, 60)]),
          ]}
        />
      ) : null}
      <Length name="min" label="Min characters" />
      <Length name="max" label="Max characters" />
    </Filters>
  );
}

const FILTERS = ["q", "role", "label", "problem", "min", "max"];

export function DatasetRows({ rows, report, dataset, editable }: RowsProps) {
  const { url } = usePage();
  if (!rows) return <section id="rows" {...liveOn(url, "datasets")} />;
  const filtered = FILTERS.some((name) => url.searchParams.get(name));
  return (
    <section id="rows" class="stack" {...liveOn(url, "datasets")}>
      <Tabs
        label="Split"
        name="split"
        fragment="rows"
        tabs={[
          { key: "train", label: "Training rows" },
          { key: "holdout", label: "Validation rows" },
        ]}
      />
      <RowFilters report={report} split={rows.split} />
      {rows.items.length === 0 ? (
        <Empty slim icon="search" title="No rows">
          {filtered ? "No row matches the filters." : "There is no validation split."}
        </Empty>
      ) : (
        <ul class="stack">
          {rows.items.map((row) => (
            <li class="panel" id={`row-${row.id}`}>
              <header class="slim">
                <h2 class="small muted">Line {row.id}</h2>
                {editable ? (
                  <a
                    class="button small"
                    href={`/datasets/${dataset.id}/rows/${row.id}`}
                    aria-label={`Edit line ${row.id}`}
                  >
                    Edit
                  </a>
                ) : null}
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
