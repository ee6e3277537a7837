/** The list of sweeps with their progress and best values. */
import type { Listed } from "../../../src/lib/page.ts";
import type { SweepView } from "../../../src/training/sweeps/model.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { List, type ListKind, ListPage } from "../../parts/list.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, RowName } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { bestOf, scoreOf, valuesOf } from "./words.ts";

const COLUMNS: Column<SweepView>[] = [
  {
    key: "name",
    label: "Sweep",
    name: true,
    render: (row) => (
      <RowName
        href={`/sweeps/${row.id}`}
        name={row.name}
        sub={
          row.error ?? (
            <>
              <span class="narrow">
                {row.counts.ended} of {row.counts.trials} trials ·{" "}
              </span>
              {bestOf(row) ? `best: ${valuesOf(bestOf(row)?.values ?? {})}` : Object.keys(row.space).join(", ")}
            </>
          )
        }
      />
    ),
  },
  {
    key: "ended",
    label: "Trials",
    end: true,
    wide: true,
    render: (row) => `${row.counts.ended} of ${row.counts.trials}`,
  },
  { key: "best", label: "Best", end: true, wide: true, render: (row) => scoreOf(bestOf(row)?.score ?? null) },
  { key: "state", label: "State", render: (row) => <StateBadge state={row.state} /> },
  { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
];

const LIST: ListKind<SweepView> = {
  id: "sweeps",
  label: "Sweeps",
  columns: COLUMNS,
  rowId: (row) => row.id,
  topics: ["sweeps"],
  search: "Search by name",
  empty: () => (
    <Empty
      icon="compare"
      title="No sweeps yet"
      action={
        <RoleLink class="button primary" href="/jobs/new">
          New training job
        </RoleLink>
      }
    >
      A sweep trains with several values of a hyperparameter, such as the learning rate, and shows the best. Press
      “Sweep” in the form of a new training job, or on the page of a job that has ended.
    </Empty>
  ),
};

export const SweepList = (rows: Listed<SweepView>) => <List of={LIST} {...rows} />;
export const SweepsPage = (rows: Listed<SweepView>) => <ListPage title="Sweeps" of={LIST} {...rows} />;
