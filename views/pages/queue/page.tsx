/** The queue: who runs where, who waits for what, and what teams are due. */
import type { QueueView, RunningView, TeamView, WaitingView, WorkView } from "../../../src/jobs/queue.ts";
import { formatExact, formatNumber, plural } from "../../../src/lib/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty } from "../../parts/notice.tsx";
import { liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { Timeline } from "./timeline.tsx";
import { exactly, hoursWords, soon } from "./words.ts";

export interface QueueProps {
  view: QueueView;
  admin: boolean;
}

const KINDS: Record<string, string> = {
  train: "training",
  evaluate: "evaluation",
  serve: "endpoint",
  export: "export",
};

function Name({ work }: { work: WorkView }) {
  const sub = [work.team, KINDS[work.kind] ?? work.kind, work.gpus > 0 ? plural(work.gpus, "GPU") : null];
  if (!work.id) return <span class="muted">Another team's {KINDS[work.kind] ?? "work"}</span>;
  return (
    <RowName
      href={`/jobs/${work.id}`}
      name={work.name ?? work.id}
      sub={sub.filter((one) => one !== null).join(" · ")}
    />
  );
}

function Start({ work }: { work: WaitingView }) {
  const { now } = usePage();
  return (
    <>
      <span title={exactly(work.start)}>{soon(work.start, now)}</span>
      {work.late ? (
        <span class="sub bad-text">
          <Icon name="warn" />
          later than its deadline
        </span>
      ) : work.start.why ? (
        <span class="sub">{work.start.why}</span>
      ) : null}
    </>
  );
}

function Wishes({ work }: { work: WaitingView }) {
  const wishes = [
    work.priority === 0 ? null : `priority ${work.priority}`,
    work.deadline === null ? null : `by ${formatExact(work.deadline).slice(0, 16)} UTC`,
    work.notBefore === null ? null : `not before ${formatExact(work.notBefore).slice(0, 16)} UTC`,
    hoursWords(work.window),
  ].filter((one) => one !== null);
  return <span class="small">{wishes.length > 0 ? wishes.join("; ") : <span class="muted">–</span>}</span>;
}

function Waiting({ view, admin }: QueueProps) {
  const rows = view.waiting;
  return (
    <section class="stack tight">
      <h2>Waiting</h2>
      {rows.length === 0 ? (
        <div class="panel">
          <Empty slim icon="clock" title="Nothing waits">
            What is started now begins at once, as long as something that can run it is free.
          </Empty>
        </div>
      ) : (
        <>
          <Table
            label="Waiting work, next first"
            rows={rows}
            rowId={(row) => row.id ?? `other-${row.position}`}
            columns={[
              { key: "position", label: "#", tight: true, render: (row) => <span class="num">{row.position}</span> },
              { key: "name", label: "Work", name: true, render: (row) => <Name work={row} /> },
              {
                key: "why",
                label: "Waits for",
                wide: true,
                render: (row) => (
                  <>
                    {row.waiting?.message ?? "its turn"}
                    {row.waiting && row.waiting.jobs.length > 0 ? (
                      <span class="sub">
                        {"behind "}
                        {row.waiting.jobs.slice(0, 3).map((id, n) => (
                          <>
                            {n > 0 ? ", " : null}
                            <a href={`/jobs/${id}`}>{nameIn(view, id)}</a>
                          </>
                        ))}
                      </span>
                    ) : null}
                  </>
                ),
              },
              { key: "start", label: "Should begin", render: (row) => <Start work={row} /> },
              { key: "wishes", label: "Asked for", wide: true, render: (row) => <Wishes work={row} /> },
              { key: "since", label: "Queued", wide: true, render: (row) => <Time at={row.since} /> },
              {
                key: "change",
                label: "Change",
                hideLabel: true,
                tight: true,
                wide: true,
                render: (row) =>
                  row.id && (row.own || admin) ? (
                    <a class="button small" href={`/queue/${row.id}`}>
                      Change<span class="visually-hidden"> the place of {row.name}</span>
                    </a>
                  ) : null,
              },
            ]}
          />
          <Pager
            shown={rows.length}
            hasMore={view.hasMore}
            last={rows.findLast((row) => row.id)?.id ?? null}
            fragment="queue"
            order="data"
          />
        </>
      )}
    </section>
  );
}

function nameIn({ running, waiting }: QueueView, id: string): string {
  return [...running, ...waiting].find((one) => one.id === id)?.name ?? id;
}

function Running({ view }: QueueProps) {
  const { now } = usePage();
  const hosts = new Map(view.hosts.map((host) => [host.id, host]));
  const where = (row: RunningView) => {
    const host = row.host === null ? undefined : hosts.get(row.host);
    if (!host) return <span class="muted">not placed yet</span>;
    const cards = row.uuids.map((uuid) => host.gpus.indexOf(uuid)).filter((n) => n >= 0);
    return cards.length > 0 ? `${host.name}, GPU ${cards.sort((a, b) => a - b).join(", ")}` : host.name;
  };
  return (
    <section class="stack tight">
      <h2>Running</h2>
      {view.running.length === 0 ? (
        <p class="muted">Nothing runs.</p>
      ) : (
        <Table
          label="Running work"
          rows={view.running}
          rowId={(row) => row.id ?? `other-${row.since}-${row.uuids[0] ?? row.host}`}
          columns={[
            { key: "name", label: "Work", name: true, render: (row) => <Name work={row} /> },
            { key: "where", label: "Where", wide: true, render: where },
            {
              key: "ends",
              label: "Should end",
              render: (row) =>
                row.yielding ? (
                  "saves a checkpoint and lets go"
                ) : row.kind === "serve" ? (
                  <span class="muted">when it is stopped</span>
                ) : (
                  <span title={exactly(row.ends)}>{soon(row.ends, now)}</span>
                ),
            },
            { key: "since", label: "Since", wide: true, render: (row) => <Time at={row.since} /> },
          ]}
        />
      )}
    </section>
  );
}

const most = (value: number | null, unit: string) => (value === null ? "" : ` of ${formatNumber(value, 0)}${unit}`);

function Teams({ teams, admin }: { teams: TeamView[]; admin: boolean }) {
  return (
    <section class="stack tight">
      <h2>{admin ? "Teams" : "Your team"}</h2>
      <p class="muted small">
        Where work of several teams waits, the team that used less for its weight goes first. What was used counts less
        from day to day.
      </p>
      <Table
        label="Teams and what they are due"
        rows={teams}
        still
        rowId={(row) => row.id}
        columns={[
          { key: "name", label: "Team", name: true, render: (row) => row.name },
          { key: "weight", label: "Weight", end: true, render: (row) => formatNumber(row.weight, 2) },
          { key: "gpus", label: "GPUs now", end: true, render: (row) => `${row.gpusNow}${most(row.maxGpus, "")}` },
          {
            key: "month",
            label: "GPU-hours this month",
            end: true,
            wide: true,
            render: (row) => `${formatNumber(row.usedThisMonth, 1)}${most(row.monthGpuHours, "")}`,
          },
          { key: "running", label: "Running", end: true, wide: true, render: (row) => row.running },
          { key: "waiting", label: "Waiting", end: true, wide: true, render: (row) => row.waiting },
          ...(admin
            ? [
                {
                  key: "change",
                  label: "Change",
                  hideLabel: true,
                  tight: true,
                  render: (row: TeamView) => (
                    <a class="button small" href={`/admin/teams/${row.id}`}>
                      Change<span class="visually-hidden"> the share of {row.name}</span>
                    </a>
                  ),
                },
              ]
            : []),
        ]}
      />
    </section>
  );
}

export function QueueBody(props: QueueProps) {
  const { url } = usePage();
  const { view } = props;
  return (
    <div id="queue" class="stack loose" {...liveOn(url, "jobs", "hosts")}>
      <section class="panel">
        <div class="body">
          <Timeline view={view} />
        </div>
      </section>
      <Waiting {...props} />
      <Running {...props} />
      <Teams teams={view.teams} admin={props.admin} />
    </div>
  );
}

export function QueuePage(props: QueueProps) {
  return (
    <Layout title="Queue" live={{ topics: ["jobs", "hosts"] }} wide>
      <div class="stack">
        <Filters fragment="queue">
          <FilterSelect
            name="mine"
            label="Whose work"
            options={[
              ["", "Everybody's waiting work"],
              ["true", "My team's alone"],
            ]}
          />
        </Filters>
        <QueueBody {...props} />
      </div>
    </Layout>
  );
}
