/** The queue: what runs where, what waits for what, and the share of each team. */

import { formatExact, formatInteger, formatNumber, plural } from "../../../src/lib/text/format.ts";
import { spanText } from "../../../src/notices/maintenance/model.ts";
import type { QueueView, RunningView, WaitingView, WorkView } from "../../../src/training/queue/service.ts";
import type { TeamView } from "../../../src/training/queue/teams.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { liveOn, Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { Timeline } from "./timeline.tsx";
import { burstWords, exactly, soon, windowText } from "./words.ts";

interface QueueProps {
  view: QueueView;
  admin: boolean;
}

const KINDS: Record<string, string> = {
  train: "training",
  evaluate: "evaluation",
  serve: "endpoint",
  export: "export",
};

/** The page of a job. Of other teams' jobs, administrators get only the scheduling options. */
const pathOf = (work: WorkView) => `/${work.own ? "jobs" : "queue"}/${encodeURIComponent(work.id ?? "")}`;

function Name({ work }: { work: WorkView }) {
  const sub = [work.gpus > 0 ? plural(work.gpus, "GPU") : null, KINDS[work.kind] ?? work.kind, work.team];
  if (!work.id)
    return (
      <>
        <span class="muted">Another team's {KINDS[work.kind] ?? "work"}</span>
        {work.gpus > 0 ? <span class="sub">{plural(work.gpus, "GPU")}</span> : null}
      </>
    );
  return (
    <RowName href={pathOf(work)} name={work.name ?? work.id} sub={sub.filter((one) => one !== null).join(" · ")} />
  );
}

const Late = () => (
  <span class="late bad-text">
    <Icon name="warn" />
    will miss its deadline
  </span>
);

function Start({ work }: { work: WaitingView }) {
  const { now } = usePage();
  return (
    <>
      <span class="when" title={exactly(work.start)}>
        {soon(work.start, now)}
      </span>
      {work.late ? <Late /> : work.start.why ? <span class="sub">{work.start.why}</span> : null}
    </>
  );
}

function Options({ work }: { work: WaitingView }) {
  const options = [
    work.priority === 0 ? null : `priority ${work.priority}`,
    work.deadline === null ? null : `by ${formatExact(work.deadline).slice(0, 16)} UTC`,
    work.notBefore === null ? null : `not before ${formatExact(work.notBefore).slice(0, 16)} UTC`,
    windowText(work.window),
    work.burst && burstWords(work.burst),
  ].filter((one) => one !== null);
  if (options.length === 0) return <span class="muted">–</span>;
  return options.map((option) => <span class="option small">{option}</span>);
}

/** Why a job waits, with links to the jobs it waits for. */
function Why({ row, view }: { row: WaitingView; view: QueueView }) {
  const known = new Map([...view.running, ...view.waiting].map((one) => [one.id, one]));
  const behind = (row.waiting?.jobs ?? []).flatMap((id) => known.get(id) ?? []).slice(0, 3);
  return (
    <>
      {row.waiting?.message ?? "Starting now"}
      {behind.length > 0 ? (
        <span class="sub behind">
          behind
          {behind.map((one) => (
            <a href={pathOf(one)} class="clip" dir="auto" title={one.name ?? undefined}>
              {one.name}
            </a>
          ))}
        </span>
      ) : null}
    </>
  );
}

function NothingWaits({ own }: { own: boolean }) {
  return (
    <div class="panel">
      <Empty
        slim
        icon="clock"
        title={own ? "Your team has no waiting work" : "No waiting work"}
        action={
          <RoleLink class="button" href="/jobs/new" data-new>
            New job
          </RoleLink>
        }
      >
        New work starts as soon as a machine that can run it is free. Until then it waits here, with the reason and the
        predicted start. Higher priorities run first, then the team furthest below its fair share.
      </Empty>
    </div>
  );
}

function Waiting({ view, admin }: QueueProps) {
  const { url } = usePage();
  const rows = view.waiting;
  return (
    <section class="stack tight">
      <h2>Waiting</h2>
      {rows.length === 0 ? (
        <NothingWaits own={url.searchParams.get("mine") === "true"} />
      ) : (
        <>
          <Table
            label="Waiting work, next first"
            rows={rows}
            rowId={(row) => row.id ?? `other-${row.position}`}
            columns={[
              { key: "position", label: "#", tight: true, render: (row) => <span class="num">{row.position}</span> },
              { key: "name", label: "Work", name: true, render: (row) => <WaitingName row={row} /> },
              { key: "why", label: "Waits for", wide: true, render: (row) => <Why row={row} view={view} /> },
              { key: "start", label: "Predicted start", render: (row) => <Start work={row} /> },
              { key: "options", label: "Scheduling options", wide: true, render: (row) => <Options work={row} /> },
              { key: "since", label: "Queued", wide: true, render: (row) => <Time at={row.since} /> },
              {
                key: "change",
                label: "Change",
                hideLabel: true,
                act: true,
                wide: true,
                render: (row) =>
                  row.id && (row.own || admin) ? (
                    <a class="button small" href={`/queue/${row.id}`}>
                      Change<span class="visually-hidden"> the scheduling options of {row.name}</span>
                    </a>
                  ) : null,
              },
            ]}
          />
          <Pager
            shown={rows.length}
            hasMore={view.hasMore}
            last={String(rows.at(-1)?.position ?? "")}
            fragment="queue"
            order="queue"
          />
        </>
      )}
    </section>
  );
}

/** The name of waiting work. Phones have no column for the reason, so it is shown below the name. */
function WaitingName({ row }: { row: WaitingView }) {
  return (
    <>
      <Name work={row} />
      <span class="sub why">{row.waiting?.message}</span>
    </>
  );
}

/** Most rows of running work; the timeline and the hosts' pages show the rest. */
const MAX_RUNNING = 100;

function Running({ view }: QueueProps) {
  const { now } = usePage();
  const rows = [...view.running].sort((a, b) => Number(b.own) - Number(a.own)).slice(0, MAX_RUNNING);
  const more = view.running.length - rows.length;
  const hosts = new Map(view.hosts.map((host) => [host.id, host]));
  const where = (row: RunningView) => {
    const host = row.host === null ? undefined : hosts.get(row.host);
    if (!host) return <span class="muted">not placed yet</span>;
    const numbers = row.uuids.map((uuid) => host.gpus.indexOf(uuid)).filter((n) => n >= 0);
    return numbers.length > 0 ? `${host.name}, GPU ${numbers.sort((a, b) => a - b).join(", ")}` : host.name;
  };
  return (
    <section class="stack tight">
      <h2>Running</h2>
      {view.running.length === 0 ? (
        <p class="muted">No running work.</p>
      ) : (
        <Table
          label="Running work"
          rows={rows}
          rowId={(row) => row.id ?? `other-${row.since}-${row.uuids[0] ?? row.host}`}
          columns={[
            { key: "name", label: "Work", name: true, render: (row) => <Name work={row} /> },
            { key: "where", label: "Where", wide: true, render: where },
            {
              key: "ends",
              label: "Predicted end",
              render: (row) =>
                row.yielding ? (
                  "saving a checkpoint, then released"
                ) : row.kind === "serve" ? (
                  <span class="muted">when stopped</span>
                ) : (
                  <>
                    <span class="when" title={exactly(row.ends)}>
                      {soon(row.ends, now)}
                    </span>
                    {row.late ? <Late /> : null}
                  </>
                ),
            },
            { key: "since", label: "Since", wide: true, render: (row) => <Time at={row.since} /> },
          ]}
        />
      )}
      {more > 0 ? <p class="xs muted">{plural(more, "more job")} on the pages of the hosts.</p> : null}
    </section>
  );
}

const most = (value: number | null, unit: string) => (value === null ? "" : ` of ${formatNumber(value, 0)}${unit}`);

function Teams({ teams, admin }: { teams: TeamView[]; admin: boolean }) {
  return (
    <section class="stack tight">
      <h2>{admin ? "Fair share by team" : "Your team's fair share"}</h2>
      <p class="muted small">
        When several teams wait, the team with the least usage for its share weight runs first. Older usage counts less.
      </p>
      <Table
        label="Fair share by team"
        rows={teams}
        still
        rowId={(row) => row.id}
        columns={[
          { key: "name", label: "Team", name: true, render: (row) => row.name },
          { key: "weight", label: "Share weight", end: true, render: (row) => formatNumber(row.weight, 2) },
          { key: "gpus", label: "GPUs in use", end: true, render: (row) => `${row.gpusNow}${most(row.maxGpus, "")}` },
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
                  act: true,
                  render: (row: TeamView) => (
                    <a class="button small" href={`/admin/teams/${row.id}`}>
                      Change<span class="visually-hidden"> the share and limits of {row.name}</span>
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

/** A one-sentence summary of the queue. */
function Summary({ view }: { view: QueueView }) {
  const all = new Set(view.hosts.flatMap((host) => host.gpus));
  const busy = new Set(view.running.flatMap((one) => one.uuids).filter((uuid) => all.has(uuid)));
  const late = view.waiting.filter((one) => one.late).length;
  return (
    <p>
      <strong>{`${formatInteger(view.running.length)} running`}</strong>
      {", "}
      <strong>{`${formatInteger(view.total)} waiting`}</strong>
      {view.total > 0 ? ` (${formatInteger(view.own)} of your team)` : null}
      {late > 0 ? `, ${formatInteger(late)} missing a deadline` : null}
      {all.size > 0 ? `; ${formatInteger(busy.size)} of ${plural(all.size, "GPU")} in use` : null}.
    </p>
  );
}

/** The maintenance windows in words: the timeline shows them as bands. */
function Maintenance({ view }: { view: QueueView }) {
  return view.maintenance.map(({ startsAt, endsAt, reason, trainings }) => (
    <Notice kind="info" title={`Maintenance from ${spanText(startsAt, endsAt)}: ${reason}`}>
      {startsAt <= view.now
        ? "No job starts. Everything resumes by itself when it ends."
        : trainings === "interrupt"
          ? "Training jobs save a checkpoint when it begins and resume after it. Other jobs start only if they can end before it."
          : "Jobs that cannot end before it start after it. Training jobs that still run when it begins save a checkpoint and resume after it."}
    </Notice>
  ));
}

export function QueueBody(props: QueueProps) {
  const { url } = usePage();
  const { view } = props;
  return (
    <div id="queue" class="stack loose" {...liveOn(url, "queue", "hosts")}>
      <Summary view={view} />
      <Maintenance view={view} />
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
    <Layout title="Queue" live={{ topics: ["queue", "hosts"] }} wide>
      <div class="stack">
        <Filters fragment="queue">
          <FilterSelect
            name="mine"
            label="Team"
            options={[
              ["", "All teams"],
              ["true", "My team"],
            ]}
          />
        </Filters>
        <QueueBody {...props} />
      </div>
    </Layout>
  );
}
