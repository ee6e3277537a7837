/** `/status`: the state of the installation, 90 days of each component, uptime by month, and incidents. */
import type { ComponentChildren } from "preact";
import type {
  ComponentState,
  ComponentView,
  DayView,
  IncidentView,
  StatusView,
} from "../../../src/insights/status/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatDuration, formatExact } from "../../../src/lib/text/format.ts";
import { spanText } from "../../../src/notices/maintenance/model.ts";
import { usePage } from "../../context.ts";
import { BareLayout, Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Pager } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { IncidentEntry } from "./incident.tsx";

interface StatusPageProps {
  status: StatusView;
  incidents: Listed<IncidentView>;
}

const HEADLINES: Record<ComponentState, { kind: "ok" | "warn" | "bad" | "info"; title: string }> = {
  operational: { kind: "ok", title: "Everything works" },
  maintenance: { kind: "info", title: "Planned maintenance is in progress" },
  degraded: { kind: "warn", title: "Something is degraded" },
  down: { kind: "bad", title: "Something is down" },
  unused: { kind: "info", title: "Nothing was checked yet" },
};

/** Downwards, so that 100% means no outage at all. */
const percentText = (percent: number | null) =>
  percent === null ? "no data" : `${percent === 100 ? "100" : (Math.floor(percent * 1000) / 1000).toFixed(3)}%`;

const toneOf = ({ uptime, down_s, degraded_s, maintenance_s }: DayView) =>
  uptime === null
    ? maintenance_s > 0
      ? "planned"
      : "none"
    : down_s > 0
      ? uptime < 95
        ? "bad"
        : "warn"
      : degraded_s > 0
        ? "degraded"
        : "ok";

/** What one day had, in words. */
function dayText({ date, uptime, down_s, degraded_s, maintenance_s }: DayView): string {
  const parts = [
    uptime === null ? "no data" : percentText(uptime),
    down_s > 0 ? `down for ${formatDuration(down_s)}` : "",
    degraded_s > 0 ? `degraded for ${formatDuration(degraded_s)}` : "",
    maintenance_s > 0 ? `planned maintenance for ${formatDuration(maintenance_s)}` : "",
  ];
  return `${date}: ${parts.filter(Boolean).join(", ")}`;
}

const BAR = 10;

function Bars({ component }: { component: ComponentView }) {
  const { days, name, uptime } = component;
  return (
    <svg
      class="uptime-bars"
      viewBox={`0 0 ${days.length * BAR} 34`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`${name}, last ${days.length} days: ${percentText(uptime)}. The table below has every day.`}
    >
      {days.map((day, index) => (
        <rect class={toneOf(day)} x={index * BAR + 1} width={BAR - 2} height="34" rx="2">
          <title>{dayText(day)}</title>
        </rect>
      ))}
    </svg>
  );
}

/** The same as text: months against the target, and each day that was not perfect. */
function AsTable({ component, target }: { component: ComponentView; target: number }) {
  const notable = component.days.filter((day) => day.down_s + day.degraded_s + day.maintenance_s > 0).reverse();
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        Uptime by month and day
      </summary>
      <div class="stack tight">
        <div class="table-wrap">
          <table class="list still" aria-label={`${component.name}: uptime by month`}>
            <thead>
              <tr>
                <th scope="col">Month (UTC)</th>
                <th scope="col">Uptime</th>
                <th scope="col">Down</th>
                <th scope="col">Target {target}%</th>
              </tr>
            </thead>
            <tbody>
              {component.months.map((month) => (
                <tr>
                  <td>
                    {month.month}
                    {month.partial ? <span class="sub">in part</span> : null}
                  </td>
                  <td class="num">{percentText(month.uptime)}</td>
                  <td>{month.down_s > 0 ? formatDuration(month.down_s) : "–"}</td>
                  <td>{month.target_met === null ? "–" : month.target_met ? "met" : "missed"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        {notable.length === 0 ? (
          <p class="small muted">No day had an outage, a degradation or planned maintenance.</p>
        ) : (
          <ul class="lines-list small">
            {notable.map((day) => (
              <li>{dayText(day)}</li>
            ))}
          </ul>
        )}
      </div>
    </details>
  );
}

function ComponentPanel({ component, target }: { component: ComponentView; target: number }) {
  const [month] = component.months;
  return (
    <section class="panel component" id={`component-${component.id}`} aria-label={component.name}>
      <header>
        <h2 dir="auto">{component.name}</h2>
        <StateBadge state={component.state} />
      </header>
      <div class="body stack tight">
        <Bars component={component} />
        <div class="row between small muted">
          <span>{component.days.length} days ago</span>
          <span>Today</span>
        </div>
        <p class="small">
          {percentText(component.uptime)} in {component.days.length} days
          {month && month.uptime !== null ? ` · ${percentText(month.uptime)} this month, target ${target}%` : ""}
        </p>
        <AsTable component={component} target={target} />
      </div>
    </section>
  );
}

function Frame({ status, children }: { status: StatusView; children: ComponentChildren }) {
  const { viewer } = usePage();
  const title = "Status";
  if (viewer)
    return (
      <Layout
        title={title}
        actions={
          <RoleLink class="button" href="/admin/incidents">
            Manage incidents
          </RoleLink>
        }
      >
        <div class="stack status-page">{children}</div>
      </Layout>
    );
  return (
    <BareLayout title={title} wide>
      <h1>{title}</h1>
      <div class="stack status-page">{children}</div>
      {status.components.length === 0 ? null : <p class="small muted">Times and days are UTC.</p>}
    </BareLayout>
  );
}

export function StatusPage({ status, incidents }: StatusPageProps) {
  const { kind, title } = HEADLINES[status.state];
  return (
    <Frame status={status}>
      <Notice kind={kind} title={title}>
        {status.checked_at === null ? (
          "The server checks its components every minute."
        ) : (
          <span title={formatExact(status.checked_at * 1000)}>
            Checked every minute, last <Time at={status.checked_at * 1000} />.
          </span>
        )}
      </Notice>
      {status.maintenance.length > 0 ? (
        <section class="panel" aria-label="Planned maintenance">
          <header>
            <h2>Planned maintenance</h2>
          </header>
          <ul class="body">
            {status.maintenance.map(({ reason, starts_at, ends_at }) => (
              <li>
                {reason}: {spanText(starts_at * 1000, ends_at * 1000)}
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      {status.incidents.length > 0 ? (
        <section class="panel" aria-label="Open incidents">
          <header>
            <h2>Open incidents</h2>
          </header>
          {status.incidents.map((incident) => (
            <IncidentEntry incident={incident} />
          ))}
        </section>
      ) : null}
      {status.components.map((component) => (
        <ComponentPanel component={component} target={status.target} />
      ))}
      <section class="panel" id="incidents" aria-label="Past incidents">
        <header>
          <h2>Past incidents</h2>
        </header>
        {incidents.items.length === 0 ? (
          <Empty slim icon="ok" title="No past incidents">
            What administrators post about outages appears here.
          </Empty>
        ) : (
          incidents.items.map((incident) => <IncidentEntry incident={incident} />)
        )}
        <Pager shown={incidents.items.length} hasMore={incidents.hasMore} last={incidents.last} />
      </section>
    </Frame>
  );
}
