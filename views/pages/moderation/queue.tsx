/** The review queue: cases of all organizations. */
import type { Listed } from "../../../src/lib/page.ts";
import { plural } from "../../../src/lib/text/format.ts";
import type { CaseView } from "../../../src/moderation/model.ts";
import { Layout } from "../../layout.tsx";
import { Tabs } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { Categories, OBJECT_WORDS } from "./words.tsx";

const TABS = [
  { key: "waiting", label: "To review" },
  { key: "appealed", label: "Appeals" },
  { key: "decided", label: "Decided" },
];

function about(row: CaseView): string {
  const reports = row.history.filter(({ kind }) => kind === "report").length;
  const found =
    row.type === "dataset_version" ? plural(row.flagged, "flagged row") : plural(row.flagged, "flagged answer");
  const parts = [
    row.source === "check" ? found : null,
    reports ? plural(reports, "report") : null,
    row.organization_name,
  ];
  return `${OBJECT_WORDS[row.type]} · ${parts.filter(Boolean).join(" · ")}`;
}

export const stateOfCase = (row: Pick<CaseView, "state" | "decision">) =>
  row.state === "decided" && row.decision ? `case_${row.decision}` : `case_${row.state}`;

const COLUMNS: Column<CaseView>[] = [
  {
    key: "name",
    label: "Case",
    name: true,
    render: (row) => <RowName href={`/review/${row.id}`} name={row.name} sub={about(row)} />,
  },
  { key: "categories", label: "Categories", wide: true, render: (row) => <Categories categories={row.categories} /> },
  { key: "owner", label: "Owner", wide: true, tight: true, render: (row) => row.owner_email ?? row.owner },
  { key: "state", label: "State", tight: true, render: (row) => <StateBadge state={stateOfCase(row)} /> },
  {
    key: "at",
    label: "Since",
    wide: true,
    extra: true,
    tight: true,
    render: (row) => <Time at={row.created_at * 1000} />,
  },
];

/** `/review` */
export function QueuePage(props: Listed<CaseView> & { enabled: boolean; state: string }) {
  const { items, enabled, state } = props;
  const waits = state === "waiting";
  return (
    <Layout title="Review">
      <div class="stack">
        {enabled ? null : (
          <Notice kind="info" title="Moderation is off">
            Nothing is checked, and nobody can report. An administrator switches it on under Administration, Moderation.
          </Notice>
        )}
        <Tabs label="Cases" name="state" tabs={TABS} />
        <section class="panel" aria-label="Cases">
          {items.length === 0 ? (
            <Empty icon="shield" title={waits ? "Nothing to review" : "No cases here"}>
              {waits
                ? "Flagged datasets and models, reports and appeals of all teams appear here."
                : "Cases appear here once their owner appealed, or a reviewer decided."}
            </Empty>
          ) : (
            <Table label="Cases" rows={items} rowId={(row) => row.id} columns={COLUMNS} />
          )}
          <Pager shown={items.length} hasMore={props.hasMore} last={props.last} />
        </section>
      </div>
    </Layout>
  );
}
