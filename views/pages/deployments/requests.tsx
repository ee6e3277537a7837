/** The latest requests of a deployment, with filters by status and key. No contents are stored. */
import type { DeploymentRequest } from "../../../src/insights/analytics/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatDuration, formatInteger } from "../../../src/lib/text/format.ts";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Empty } from "../../parts/notice.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";

export interface RequestsProps {
  requests: Listed<DeploymentRequest>;
  /** Keys to filter by: id and name. */
  keys: [string, string][];
  filtered: boolean;
  /** Only the reader's own requests, as members see them. */
  own: boolean;
}

const ENDS: Record<string, string> = {
  error: "broken off by an error",
  left: "client disconnected",
  access_ended: "access was revoked",
  length: "at the token limit",
};

/** `200`, and below it how the answer ended, unless it simply stopped. */
function Status({ row }: { row: DeploymentRequest }) {
  const end = row.finish_reason ? ENDS[row.finish_reason] : undefined;
  const bad = (row.status >= 400 && row.status !== 499) || row.finish_reason === "error";
  return (
    <>
      <span class={`badge ${bad ? "bad" : row.status === 499 ? "idle" : "ok"}`}>{row.status}</span>
      {end ? <span class="sub">{end}</span> : null}
    </>
  );
}

const who = (row: DeploymentRequest) => row.key_name ?? (row.key_id ? "deleted key" : "Browser session");
const latency = (ms: number) => (ms < 1000 ? `${Math.round(ms)} ms` : formatDuration(ms / 1000));

export function RequestList({ requests, filtered, own }: RequestsProps) {
  return (
    <div id="requests">
      {requests.items.length === 0 ? (
        <Empty slim icon="search" title={filtered ? "No matches" : "No requests yet"}>
          {filtered
            ? "No request matches the filters."
            : `${own ? "Your requests" : "Requests"} to this deployment are listed here.`}
        </Empty>
      ) : (
        <>
          <Table
            still
            label="Requests"
            rows={requests.items}
            rowId={(row) => row.request_id}
            columns={[
              { key: "at", label: "Time", tight: true, render: (row) => <Time at={row.created_at * 1000} /> },
              {
                key: "key",
                label: "Key",
                name: true,
                render: (row) => (
                  <>
                    {who(row)}
                    <span class="sub" title={row.model}>
                      {row.user_email ?? "deleted user"} · {row.model}
                    </span>
                  </>
                ),
              },
              { key: "status", label: "Status", tight: true, render: (row) => <Status row={row} /> },
              {
                key: "tokens",
                label: "Input / output tokens",
                end: true,
                wide: true,
                render: (row) => `${formatInteger(row.prompt_tokens)} / ${formatInteger(row.completion_tokens)}`,
              },
              { key: "latency", label: "Latency", end: true, render: (row) => latency(row.latency_ms) },
            ]}
          />
          <Pager shown={requests.items.length} hasMore={requests.hasMore} last={requests.last} fragment="requests" />
        </>
      )}
    </div>
  );
}

export function RequestLog(props: RequestsProps) {
  return (
    <section class="panel" aria-labelledby="requests-title">
      <header>
        <h2 id="requests-title">{props.own ? "Your requests" : "Requests"}</h2>
      </header>
      {props.requests.items.length > 0 || props.filtered ? (
        <div class="body">
          <Filters fragment="requests">
            <FilterSelect
              name="status"
              label="Status"
              options={[
                ["", "All statuses"],
                ["2xx", "Answered (2xx)"],
                ["4xx", "Refused (4xx)"],
                ["429", "Rate or queue limit (429)"],
                ["499", "Client disconnected (499)"],
                ["5xx", "Failed (5xx)"],
              ]}
            />
            <FilterSelect
              name="key"
              label="Key"
              options={[["", "All keys"], ["session", "Browser session"], ...props.keys]}
            />
          </Filters>
        </div>
      ) : null}
      <RequestList {...props} />
    </section>
  );
}
