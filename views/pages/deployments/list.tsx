/** The list of deployments with their states. */
import type { Listed } from "../../../src/lib/page.ts";
import { formatDuration } from "../../../src/lib/text/format.ts";
import type { DeploymentView } from "../../../src/serving/deployments/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { CreatorFilter, Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { List, type ListKind, ListPage } from "../../parts/list.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, CREATED_BY, RowName } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

/** `creator`: null for an account that was erased. */
type ListedDeployment = DeploymentView & { creator: string | null };

interface DeploymentsProps extends Listed<ListedDeployment> {
  /** Models that can be deployed. */
  models: string[];
  error?: string | null;
}

const COLUMNS: Column<ListedDeployment>[] = [
  {
    key: "name",
    label: "Deployment",
    name: true,
    render: (row) => <RowName href={`/deployments/${row.id}`} name={row.name} sub={row.model} />,
  },
  { key: "state", label: "State", render: (row) => <StateBadge state={row.state} /> },
  {
    key: "used",
    label: "Last request",
    wide: true,
    render: (row) => <Time at={row.last_request_at ? row.last_request_at * 1000 : null} />,
  },
  {
    key: "sleep",
    label: "Sleeps after",
    end: true,
    wide: true,
    render: (row) => (row.idle_after_s ? formatDuration(row.idle_after_s) : "never"),
  },
  CREATED_BY,
  { key: "active", label: "Active", end: true, render: (row) => row.active_requests },
];

const LIST: ListKind<ListedDeployment> = {
  id: "deployments",
  label: "Deployments",
  columns: COLUMNS,
  rowId: (row) => row.id,
  topics: ["deployments"],
  search: "Search by name or model",
  empty: () => (
    <Empty
      icon="deploy"
      title="No deployments"
      action={
        <a class="button" href="/models">
          View models
        </a>
      }
    >
      A deployment serves a model behind an endpoint for any OpenAI client. It sleeps when idle and wakes with the next
      request. The first request to a fine-tuned model creates one automatically.
    </Empty>
  ),
};

export const DeploymentList = ({ items, hasMore, last }: Listed<ListedDeployment>) => (
  <List of={LIST} items={items} hasMore={hasMore} last={last} />
);

export function DeploymentsPage({ models, error, ...rows }: DeploymentsProps) {
  return (
    <ListPage title="Deployments" of={LIST} {...rows} filters={<CreatorFilter />}>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      {models.length ? <DeployForm models={models} /> : null}
    </ListPage>
  );
}

function DeployForm({ models }: Pick<DeploymentsProps, "models">) {
  return (
    <PostForm class="filters" action="/deployments">
      <Field
        id="deploy-model"
        label="Deploy a model"
        render={(ids) => (
          <select name="model" required {...ids}>
            {models.map((model) => (
              <option value={model}>{model}</option>
            ))}
          </select>
        )}
      />
      <button type="submit" class="button primary">
        <Icon name="deploy" />
        Deploy
      </button>
    </PostForm>
  );
}
