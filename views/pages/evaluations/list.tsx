/** The list of evaluations: which comparisons there are and what each found. */

import type { EvaluationView } from "../../../src/evaluations/model.ts";
import { formatPercent } from "../../../src/lib/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

export interface EvaluationsProps {
  items: EvaluationView[];
  hasMore: boolean;
  last: string | null;
}

const exact = (side: { exact_match: { mean: number } } | null | undefined) =>
  side ? formatPercent(side.exact_match.mean) : "–";

const COLUMNS: Column<EvaluationView>[] = [
  {
    key: "name",
    label: "Evaluation",
    name: true,
    render: (row) => <RowName href={`/evaluations/${row.id}`} name={row.name} sub={row.comparison?.sentence} />,
  },
  { key: "base", label: "Base, exact", end: true, render: (row) => exact(row.result?.base) },
  { key: "tuned", label: "Tuned, exact", end: true, render: (row) => exact(row.result?.tuned) },
  { key: "state", label: "State", render: (row) => <StateBadge state={row.status} /> },
  { key: "at", label: "Made", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
];

export function EvaluationList(props: EvaluationsProps) {
  const { url } = usePage();
  return (
    <div id="evaluations" class="stack" {...liveOn(url, "evaluations", "jobs")}>
      {props.items.length === 0 ? (
        <div class="panel">
          <Empty
            icon="scale"
            title="No evaluations yet"
            action={
              <a class="button primary" href="/jobs/new">
                Fine-tune a model
              </a>
            }
          >
            When a job succeeds, base and tuned model answer rows they have never seen, side by side. The result appears
            here by itself.
          </Empty>
        </div>
      ) : (
        <>
          <Table
            label="Evaluations"
            columns={COLUMNS}
            rows={props.items}
            rowId={(row) => row.id}
            fragment="evaluations"
          />
          <Pager shown={props.items.length} hasMore={props.hasMore} last={props.last} fragment="evaluations" />
        </>
      )}
    </div>
  );
}

export function EvaluationsPage(props: EvaluationsProps) {
  return (
    <Layout title="Evaluations" live={{ topics: ["evaluations", "jobs"] }}>
      <EvaluationList {...props} />
    </Layout>
  );
}
