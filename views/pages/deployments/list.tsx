/** The list of deployments: what is serving, and what sleeps. */
import type { DeploymentView } from "../../../src/deployments/model.ts";
import { formatDuration } from "../../../src/lib/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Field } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

export interface DeploymentsProps {
  items: DeploymentView[];
  hasMore: boolean;
  last: string | null;
  /** Models that can be deployed. */
  models: string[];
  error?: string | null;
}

const COLUMNS: Column<DeploymentView>[] = [
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
  { key: "active", label: "Active", end: true, render: (row) => row.active_requests },
];

export function DeploymentList(props: DeploymentsProps) {
  const { url } = usePage();
  return (
    <div id="deployments" class="stack" {...liveOn(url, "deployments")}>
      {props.items.length === 0 ? (
        <div class="panel">
          <Empty icon="deploy" title="Nothing is deployed">
            A deployment gives a model an endpoint that any OpenAI client can use. It sleeps when nobody asks, and wakes
            with the next request. Tuned models also get one by themselves when they are first called.
          </Empty>
        </div>
      ) : (
        <>
          <Table
            label="Deployments"
            columns={COLUMNS}
            rows={props.items}
            rowId={(row) => row.id}
            fragment="deployments"
          />
          <Pager shown={props.items.length} hasMore={props.hasMore} last={props.last} fragment="deployments" />
        </>
      )}
    </div>
  );
}

export function DeploymentsPage(props: DeploymentsProps) {
  return (
    <Layout title="Deployments" live={{ topics: ["deployments"] }}>
      <div class="stack">
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <form class="filters" method="post" action="/deployments">
          <Field
            id="deploy-model"
            label="Deploy a model"
            render={(ids) => (
              <select name="model" required {...ids}>
                {props.models.map((model) => (
                  <option value={model}>{model}</option>
                ))}
              </select>
            )}
          />
          <button type="submit" class="button primary" disabled={props.models.length === 0}>
            <Icon name="deploy" />
            Deploy
          </button>
        </form>
        <DeploymentList {...props} />
      </div>
    </Layout>
  );
}
