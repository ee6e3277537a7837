/** One deployment: state, statistics, example request, settings. */
import type { RestrictionRow } from "../../../src/accounts/restrictions/service.ts";
import type { DeploymentStats, WindowStats } from "../../../src/insights/analytics/model.ts";
import { formatCount, formatDuration, formatInteger, formatNumber } from "../../../src/lib/text/format.ts";
import type { EngineLog } from "../../../src/serving/deployments/engine-log.ts";
import type { DeploymentView } from "../../../src/serving/deployments/model.ts";
import type { DeploymentPlan } from "../../../src/serving/deployments/plan.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";
import { Barred, ReportLink } from "../../parts/barred.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Table } from "../../parts/table.tsx";
import { KeyValue, Snippet, Sparkline, Stat, Stats, Time } from "../../parts/value.tsx";
import { EngineLogPanel } from "./engine-log.tsx";
import { EndpointPrice } from "./price.tsx";
import { RequestLog, type RequestsProps } from "./requests.tsx";

interface DeploymentProps {
  deployment: DeploymentView;
  stats: DeploymentStats;
  baseUrl: string;
  /** Why its model may not be used; null = it may. */
  barred: RestrictionRow | null;
}

interface PageProps extends DeploymentProps, RequestsProps {
  engine: EngineLog;
  /** Name of who created it. */
  creator: string | null;
  /** What it costs; null when nothing has a price. */
  price: DeploymentPlan | null;
}

const ms = (value: number | null) =>
  value === null ? "–" : value < 10 ? `${value.toFixed(1)} ms` : formatDuration(value / 1000);

const EXPLANATIONS: Record<DeploymentView["state"], string> = {
  starting: "The engine is starting and loads the model. Requests wait until it is ready.",
  checking: "Moderation checks run before its first deployment. Requests are refused until they end.",
  ready: "Requests are answered immediately.",
  asleep: "Idle; its resources are free for other work. The next request wakes it, which takes a few seconds.",
  stopping: "The engine is stopping.",
  stopped: "Requests are refused until it is started again.",
  failed: "The engine failed repeatedly. Start the deployment to try again.",
};

function Windows({ stats }: Pick<DeploymentProps, "stats">) {
  const rows: { name: string; of: (window: WindowStats) => string }[] = [
    { name: "Requests", of: (w) => formatInteger(w.requests) },
    { name: "Errors", of: (w) => formatInteger(w.errors) },
    { name: "Latency, p50 / p95", of: (w) => `${ms(w.latency_ms.p50)} / ${ms(w.latency_ms.p95)}` },
    { name: "Time to first token, p50 / p95", of: (w) => `${ms(w.first_token_ms.p50)} / ${ms(w.first_token_ms.p95)}` },
    { name: "Gateway overhead, p50", of: (w) => ms(w.overhead_ms.p50) },
    {
      name: "Input / output tokens",
      of: (w) => `${formatCount(w.prompt_tokens)} / ${formatCount(w.completion_tokens)}`,
    },
  ];
  return (
    <Table
      still
      label="Usage and latency"
      rows={rows}
      rowId={(row) => row.name}
      columns={[
        { key: "name", label: "Usage and latency", name: true, render: (row) => row.name },
        { key: "hour", label: "Last hour", end: true, render: (row) => row.of(stats.last_hour) },
        { key: "day", label: "Last day", end: true, render: (row) => row.of(stats.last_day) },
      ]}
    />
  );
}

export function DeploymentState({ deployment, stats, barred }: DeploymentProps) {
  const { url } = usePage();
  const hour = stats.last_hour;
  return (
    <div id="state" class="stack" {...liveOn(url, "deployments")}>
      <Barred of={barred} />
      {deployment.error ? (
        <Notice
          kind="bad"
          title={
            deployment.state === "failed"
              ? "The endpoint failed"
              : deployment.state === "stopped"
                ? "The endpoint was stopped"
                : /^Waiting/.test(deployment.error)
                  ? "The endpoint waits"
                  : "The engine reported an error"
          }
        >
          <span class="wrap-any">{deployment.error}</span>
        </Notice>
      ) : null}
      <div class="row">
        <StateBadge state={deployment.state} />
        <span class="muted">{EXPLANATIONS[deployment.state]}</span>
      </div>
      <Stats>
        <Stat
          label="Requests, last hour"
          big
          note={<Sparkline label="Requests per minute" values={stats.minutes.map((m) => m.requests)} />}
        >
          {formatInteger(hour.requests)}
        </Stat>
        <Stat label="Latency, p50" note={`p95: ${ms(hour.latency_ms.p95)}`}>
          {ms(hour.latency_ms.p50)}
        </Stat>
        <Stat label="Tokens per second">{formatNumber(hour.tokens_per_second)}</Stat>
        <Stat label="Errors" note={`${formatInteger(hour.left)} client disconnects`}>
          {formatInteger(hour.errors)}
        </Stat>
        <Stat label="Active requests">{deployment.active_requests}</Stat>
      </Stats>
      {stats.last_day.requests > 0 ? <Windows stats={stats} /> : null}
    </div>
  );
}

function Actions({ deployment }: Pick<DeploymentProps, "deployment">) {
  const at = `/deployments/${deployment.id}`;
  const off = deployment.state === "stopped" || deployment.state === "asleep" || deployment.state === "failed";
  const broken = deployment.state === "stopped" || deployment.state === "failed";
  return (
    <>
      {off ? (
        <ActionButton action={`${at}/start`} class={broken ? "primary" : undefined}>
          {deployment.state === "asleep" ? "Wake" : "Start"}
        </ActionButton>
      ) : (
        <ConfirmForm
          id="stop"
          action={`${at}/stop`}
          owner={deployment.created_by}
          label="Stop"
          title={`Stop ${deployment.name}?`}
          lost="Requests are refused until you start it again. Nothing is deleted."
          verb="Stop deployment"
        />
      )}
      {broken ? null : (
        <RoleLink class="button primary" href={`/playground?models=${encodeURIComponent(deployment.model)}`}>
          Chat
        </RoleLink>
      )}
    </>
  );
}

function Example({ deployment, baseUrl }: Pick<DeploymentProps, "deployment" | "baseUrl">) {
  const message = `{"model": "${deployment.model}", "messages": [{"role": "user", "content": "Hello"}]}`;
  return (
    <section class="stack tight">
      <h2>Example request</h2>
      <Snippet
        label="curl"
        text={`curl ${baseUrl}/v1/chat/completions \\\n  -H "Authorization: Bearer ftl-…" -H "Content-Type: application/json" \\\n  -d '${message}'`}
      />
      <p class="small muted">
        Replace <code>ftl-…</code> with an API key. <a href="/settings">Create one in Settings</a>.
      </p>
    </section>
  );
}

export function DeploymentPage(props: PageProps) {
  const { deployment, engine, price } = props;
  // What explains a failure comes first.
  const broken = deployment.error !== null;
  // Before the first request there are no numbers, and the request is what is needed.
  const fresh = deployment.last_request_at === null && props.requests.items.length === 0 && !props.filtered;
  return (
    <Layout
      title={deployment.name}
      crumbs={[{ label: "Deployments", href: "/deployments" }]}
      creator={props.creator}
      actions={<Actions deployment={deployment} />}
      live={{ topics: ["deployments"] }}
    >
      <div class="stack loose">
        {fresh && !broken ? <Example {...props} /> : null}
        <DeploymentState {...props} />
        {broken ? <EngineLogPanel engine={engine} /> : null}
        {fresh ? null : <RequestLog {...props} />}
        {fresh && !broken ? null : <Example {...props} />}
        {broken ? null : <EngineLogPanel engine={engine} />}
        <div class="columns">
          <section class="panel">
            <header>
              <h2>Details</h2>
            </header>
            <div class="body">
              <KeyValue
                rows={[
                  ["Model", <a href={`/models/${encodeURIComponent(deployment.model)}`}>{deployment.model}</a>],
                  ["Base model", deployment.base_model],
                  [
                    "Created",
                    <Time at={deployment.created_at * 1000} />,
                    deployment.on_demand ? "By a first request" : undefined,
                  ],
                  ["Last request", <Time at={deployment.last_request_at ? deployment.last_request_at * 1000 : null} />],
                  ["Last health check", <Time at={deployment.healthy_at ? deployment.healthy_at * 1000 : null} />],
                  price ? ["Price", <EndpointPrice plan={price} />] : null,
                  ["Restarts", formatInteger(deployment.restarts)],
                  deployment.job_id
                    ? ["Engine job", <a href={`/jobs/${deployment.job_id}`}>{deployment.job_id}</a>]
                    : null,
                ]}
              />
            </div>
          </section>
          <section class="panel">
            <header>
              <h2>Sleep when idle</h2>
            </header>
            <PostForm class="body form" action={`/deployments/${deployment.id}`}>
              <div class="field">
                <label for="idle">Minutes without a request until it sleeps (0 = never)</label>
                <input
                  id="idle"
                  name="idle_minutes"
                  type="number"
                  min={0}
                  max={525600}
                  value={String(Math.round((deployment.idle_after_s ?? 0) / 60))}
                />
              </div>
              <div class="row">
                <button type="submit" class="button">
                  Save
                </button>
              </div>
            </PostForm>
          </section>
        </div>
        <div class="row">
          <ConfirmForm
            id="delete"
            action={`/deployments/${deployment.id}/delete`}
            owner={deployment.created_by}
            label="Delete deployment"
            buttonClass="button danger"
            title={`Delete ${deployment.name}?`}
            lost="The engine stops. The model and its usage records are kept."
            verb="Delete deployment"
          />
          <ReportLink type="deployment" id={deployment.id} />
        </div>
      </div>
    </Layout>
  );
}
