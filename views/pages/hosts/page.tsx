/** The page of all hosts: their utilization, and the running jobs. */
import type { HostView } from "../../../src/compute/hosts/model.ts";
import { formatExact, formatNumber, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, RowName, Table } from "../../parts/table.tsx";
import { Progress, SpaceBar, Stat, Stats, Time } from "../../parts/value.tsx";
import { Gpus } from "./gpu.tsx";

export interface WorkItem {
  id: string;
  name: string;
  kind: string;
  state: string;
  startedAt: number | null;
  fraction: number | null;
  /** `3 min left`; null = unknown. */
  left: string | null;
}

export interface HostsProps {
  hosts: HostView[];
  running: WorkItem[];
  /** Number of queued jobs of the team. */
  waiting: number;
  /** Administrators can add machines. */
  admin: boolean;
}

/** `0 of 1 training slots in use`. */
function Slots({ label, used, total }: { label: string; used: number; total: number }) {
  return (
    <span class="tag">
      {used} of {total} {label} {total === 1 ? "slot" : "slots"} in use
    </span>
  );
}

/** The GPUs of a host in one line, or its CPU cores. */
function machineText(host: HostView): string {
  const live = host.gpus.filter((gpu) => !gpu.lost);
  if (live.length === 0) return `${plural(host.cpu.cores, "core")}, no NVIDIA GPU`;
  const models = [...Map.groupBy(live, (gpu) => gpu.model)];
  return models.map(([model, gpus]) => `${gpus.length} × ${model}`).join(", ");
}

export function HostNotes({ host }: { host: HostView }) {
  const { now } = usePage();
  return (
    <>
      {host.problem ? (
        <Notice kind={host.state === "silent" ? "bad" : "warn"}>
          {host.problem} {host.remedy}
        </Notice>
      ) : null}
      {host.state === "cordoned" || host.state === "draining" ? (
        <Notice kind="info">
          {host.state === "cordoned"
            ? "This host gets no new jobs. Running jobs continue."
            : "This host gets no new jobs. Its training jobs save a checkpoint and resume on another host."}
          {host.note ? ` ${host.note}` : null}
        </Notice>
      ) : null}
      {host.maintenance && host.maintenance.until > now ? (
        <Notice kind="info">
          Maintenance from {formatExact(host.maintenance.from)} until {formatExact(host.maintenance.until)}.
        </Notice>
      ) : null}
    </>
  );
}

export function HostStats({ host }: { host: HostView }) {
  return (
    <Stats>
      {host.gpus.length > 0 ? (
        <Stat label="GPUs" note={machineText(host)}>
          {host.gpus.filter((gpu) => !gpu.lost).length}
        </Stat>
      ) : null}
      <Stat label="CPU">{plural(host.cpu.cores, "core")}</Stat>
      <Stat label="Load (1 min)">{host.cpu.load === null ? "–" : formatNumber(host.cpu.load, 2)}</Stat>
      {host.driver ? (
        <Stat label="Driver" note={host.cuda ? `CUDA ${host.cuda}` : undefined}>
          {host.driver}
        </Stat>
      ) : null}
    </Stats>
  );
}

/** How full memory and disk of a host are. */
export function HostSpace({ host: { memory, disk } }: { host: HostView }) {
  return (
    <div class="columns">
      <SpaceBar label="Memory" used={memory.total_bytes - memory.free_bytes} total={memory.total_bytes} />
      {disk.total_bytes > 0 ? (
        <SpaceBar label="Disk" used={disk.total_bytes - disk.free_bytes} total={disk.total_bytes} />
      ) : null}
    </div>
  );
}

function Host({ host }: { host: HostView }) {
  return (
    <section class="panel">
      <header>
        <h2>
          <a href={`/hosts/${encodeURIComponent(host.id)}`}>{host.name}</a>
        </h2>
        <span class="tag">{host.provider}</span>
        <StateBadge state={host.state} />
      </header>
      <div class="body stack">
        <HostNotes host={host} />
        <HostStats host={host} />
        <HostSpace host={host} />
        {host.gpus.length > 0 ? <Gpus gpus={host.gpus} /> : null}
        {host.slots ? (
          <div class="row">
            <Slots label="training" {...host.slots.train} />
            <Slots label="endpoint" {...host.slots.serve} />
          </div>
        ) : null}
      </div>
    </section>
  );
}

export function HostsBody({ hosts, running, waiting }: HostsProps) {
  const { url } = usePage();
  return (
    <div id="hosts" class="stack loose" {...liveOn(url, "jobs", "progress", "hosts")}>
      {hosts.map((host) => (
        <Host host={host} />
      ))}
      <section class="stack tight">
        <h2>Running</h2>
        {running.length === 0 ? (
          <div class="panel">
            <Empty slim icon="hosts" title="No running jobs">
              All slots are free.
            </Empty>
          </div>
        ) : (
          <Table
            label="Running jobs"
            rows={running}
            rowId={(row) => row.id}
            columns={[
              {
                key: "name",
                label: "Job",
                name: true,
                render: (row) => <RowName href={`/jobs/${row.id}`} name={row.name} sub={row.kind} />,
              },
              { key: "state", label: "State", render: (row) => <StateBadge state={row.state} /> },
              {
                key: "progress",
                label: "Progress",
                wide: true,
                render: (row) =>
                  row.fraction === null ? (
                    "–"
                  ) : (
                    <Progress label={`Progress of ${row.name}`} fraction={row.fraction} left={row.left ?? ""} />
                  ),
              },
              { key: "since", label: "Since", wide: true, render: (row) => <Time at={row.startedAt} /> },
            ]}
          />
        )}
      </section>
      <p class="muted">
        {waiting === 0 ? "No queued jobs." : `${plural(waiting, "queued job")}.`} <a href="/queue">Open the queue</a>
      </p>
    </div>
  );
}

export function HostsPage(props: HostsProps) {
  return (
    <Layout
      title="Hosts"
      live={{ topics: ["jobs", "progress", "hosts"] }}
      actions={
        props.admin ? (
          <RoleLink class="button primary" href="/hosts/add" data-new>
            <Icon name="plus" />
            Add a machine
          </RoleLink>
        ) : null
      }
    >
      <HostsBody {...props} />
    </Layout>
  );
}
