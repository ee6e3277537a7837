/** The list of evaluations with their results. */

import type { EvaluationView } from "../../../src/evaluation/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatPercent } from "../../../src/lib/text/format.ts";
import { RoleLink } from "../../parts/allowed.tsx";
import { CreatorFilter } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind, ListPage } from "../../parts/list.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, CREATED_BY, RowName } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

/** `creator`: null for an account that was erased. */
type ListedEvaluation = EvaluationView & { creator: string | null };

const exact = (side: { exact_match: { mean: number } } | null | undefined) =>
  side ? formatPercent(side.exact_match.mean) : "–";

const COLUMNS: Column<ListedEvaluation>[] = [
  {
    key: "name",
    label: "Evaluation",
    name: true,
    render: (row) => (
      <RowName
        href={`/evaluations/${row.id}`}
        name={row.name}
        sub={
          <>
            {row.dataset ? `${row.dataset.name}, version ${row.dataset.version} · ` : ""}
            {row.result ? (
              <span class="narrow">
                {exact(row.result.base)} → {exact(row.result.tuned)} exact match ·{" "}
              </span>
            ) : null}
            {row.error?.message ?? row.comparison?.sentence}
          </>
        }
      />
    ),
  },
  { key: "base", label: "Base exact match", end: true, wide: true, render: (row) => exact(row.result?.base) },
  { key: "tuned", label: "Fine-tuned exact match", end: true, wide: true, render: (row) => exact(row.result?.tuned) },
  { key: "state", label: "State", render: (row) => <StateBadge state={row.status} /> },
  CREATED_BY,
  { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
];

const LIST: ListKind<ListedEvaluation> = {
  id: "evaluations",
  label: "Evaluations",
  columns: COLUMNS,
  rowId: (row) => row.id,
  topics: ["evaluations", "jobs"],
  search: "Search by name or model",
  empty: () => (
    <Empty
      icon="scale"
      title="No evaluations yet"
      action={
        <RoleLink class="button primary" href="/evaluations/new">
          New evaluation
        </RoleLink>
      }
    >
      When a training job succeeds, the base model and the fine-tuned model answer the validation rows. You can also
      evaluate any model on any dataset.
    </Empty>
  ),
};

export const EvaluationList = (rows: Listed<ListedEvaluation>) => <List of={LIST} {...rows} />;
export const EvaluationsPage = (rows: Listed<ListedEvaluation>) => (
  <ListPage
    title="Evaluations"
    of={LIST}
    {...rows}
    filters={<CreatorFilter />}
    actions={
      <RoleLink class="button primary" href="/evaluations/new" data-new>
        <Icon name="plus" />
        New evaluation
      </RoleLink>
    }
  />
);
