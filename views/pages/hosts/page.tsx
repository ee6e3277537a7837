/** Hosts: are my machines well used, what runs where, what waits for what. */
import type { HostView } from "../../../src/compute/service.ts";
import { formatBytes, formatDuration, formatNumber, formatPercent } from "../../../src/lib/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, RowName, Table } from "../../parts/table.tsx";
import { Progress, Stat, Stats, Time } from "../../parts/value.tsx";

export interface WorkItem {
  id: string;
  name: string;
  kind: string;
  state: string;
  queuedAt: number | null;
  startedAt: number | null;
  fraction: number | null;
  etaS: number | null;
}

export interface HostsProps {
  hosts: HostView[];
  running: WorkItem[];
  waiting: WorkItem[];
}

function Slots({ label, used, total }: { label: string; used: number; total: number }) {
  return (
    <>
      {Array.from({ length: Math.max(total, used) }, (_, n) => (
        <span class={n < used ? "cell busy" : "cell"}>
          {label} {n + 1}
          <br />
          <span class="muted">{n < used ? "busy" : "free"}</span>
        </span>
      ))}
    </>
  );
}

function Host({ host }: { host: HostView }) {
  const share = (free: number, total: number) => formatPercent(total ? 1 - free / total : 0);
  return (
    <section class="panel">
      <header>
        <h2>{host.name}</h2>
        <span class="tag">{host.provider}</span>
      </header>
      <div class="body stack">
        <Stats>
          <Stat label="Processor" note={host.cpu.model}>
            {host.cpu.cores} cores
          </Stat>
          <Stat label="Load, one minute">{formatNumber(host.cpu.load, 2)}</Stat>
          <Stat
            label="Memory used"
            note={`${formatBytes(host.memory.free_bytes)} free of ${formatBytes(host.memory.total_bytes)}`}
          >
            {share(host.memory.free_bytes, host.memory.total_bytes)}
          </Stat>
          <Stat
            label="Disk used"
            note={`${formatBytes(host.disk.free_bytes)} free of ${formatBytes(host.disk.total_bytes)}`}
          >
            {share(host.disk.free_bytes, host.disk.total_bytes)}
          </Stat>
        </Stats>
        <div class="cells">
          {host.gpus.map((gpu) => (
            <span class="cell">
              {gpu.name}
              <br />
              <span class="muted">{formatBytes(gpu.memory_mb * 1024 ** 2)}</span>
            </span>
          ))}
          <Slots label="Training" {...host.slots.train} />
          <Slots label="Endpoint" {...host.slots.serve} />
        </div>
        {host.gpus.length === 0 ? (
          <p class="small muted">No NVIDIA GPU was found on this machine; work runs on its processor.</p>
        ) : null}
      </div>
    </section>
  );
}

export function HostsBody({ hosts, running, waiting }: HostsProps) {
  const { url } = usePage();
  return (
    <div id="hosts" class="stack loose" {...liveOn(url, "jobs", "progress")}>
      {hosts.map((host) => (
        <Host host={host} />
      ))}
      <section class="stack tight">
        <h2>Running</h2>
        {running.length === 0 ? (
          <div class="panel">
            <Empty slim icon="hosts" title="Nothing runs">
              Every slot is free.
            </Empty>
          </div>
        ) : (
          <Table
            label="Running work"
            rows={running}
            rowId={(row) => row.id}
            columns={[
              {
                key: "name",
                label: "Work",
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
                    <Progress
                      label={`Progress of ${row.name}`}
                      fraction={row.fraction}
                      left={row.etaS === null ? "" : `${formatDuration(row.etaS)} left`}
                    />
                  ),
              },
              { key: "since", label: "Since", wide: true, render: (row) => <Time at={row.startedAt} /> },
            ]}
          />
        )}
      </section>
      <section class="stack tight">
        <h2>Waiting</h2>
        {waiting.length === 0 ? (
          <p class="muted">Nothing waits.</p>
        ) : (
          <Table
            label="Waiting work, next first"
            rows={waiting}
            rowId={(row) => row.id}
            columns={[
              {
                key: "name",
                label: "Work",
                name: true,
                render: (row) => <RowName href={`/jobs/${row.id}`} name={row.name} sub={row.kind} />,
              },
              {
                key: "why",
                label: "Waits for",
                render: (row) => (row.kind === "serve" ? "a free endpoint slot" : "a free training slot"),
              },
              { key: "since", label: "Since", wide: true, render: (row) => <Time at={row.queuedAt} /> },
            ]}
          />
        )}
      </section>
    </div>
  );
}

export function HostsPage(props: HostsProps) {
  return (
    <Layout title="Hosts" live={{ topics: ["jobs", "progress"] }}>
      <HostsBody {...props} />
    </Layout>
  );
}
