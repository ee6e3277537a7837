/** The page of one host: its GPUs, its charts, and the maintenance by administrators. */
import type { HostView } from "../../../src/compute/hosts/model.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Chart } from "../../parts/chart.tsx";
import { ActionButton, ConfirmForm, SheetForm, Tabs, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { Gpus, gpuName } from "./gpu.tsx";
import { HostNotes, HostSpace, HostStats } from "./page.tsx";

export interface HostProps {
  host: HostView;
  admin: boolean;
  hours: number;
  /** The error of a submitted maintenance window. */
  error?: string | null;
}

const SPANS = [
  ["6", "6 hours"],
  ["24", "1 day"],
  ["168", "7 days"],
] as const;
const COLORS = [1, 2, 3, 4, 5, 6, 7, 8] as const;
const CURVES = [
  { key: "utilization", title: "Utilization", unit: "percent", max: 1 },
  { key: "memory_used_mb", title: "Memory", unit: "megabytes" },
  { key: "temperature_c", title: "Temperature, °C", unit: "number" },
  { key: "power_w", title: "Power, W", unit: "number" },
] as const;

export function HostBody({ host }: HostProps) {
  const { url } = usePage();
  return (
    <div id="host" class="stack" {...liveOn(url, "hosts", "jobs")}>
      <HostNotes host={host} />
      <section class="panel">
        <div class="body stack">
          <HostStats host={host} />
          <HostSpace host={host} />
          {host.gpus.length > 0 ? <Gpus gpus={host.gpus} /> : null}
        </div>
      </section>
    </div>
  );
}

function Curves({ host, hours }: HostProps) {
  const page = `/hosts/${encodeURIComponent(host.id)}`;
  const address = (gpu?: string) => `${page}/curves?hours=${hours}${gpu ? `&gpu=${encodeURIComponent(gpu)}` : ""}`;
  const gpus = host.gpus.filter((gpu) => !gpu.lost).slice(0, COLORS.length);
  const shown = gpus.length > 0 ? CURVES : CURVES.slice(0, 2);
  return (
    <section class="stack tight">
      <h2 class="visually-hidden">Charts</h2>
      <Tabs name="hours" label="Time span" tabs={SPANS.map(([key, label]) => ({ key, label }))} />
      {gpus.length > 1 ? (
        <ul class="series-names" aria-label="Colors of the charts">
          {gpus.map((gpu, n) => (
            <li>
              <span class={`swatch series-${COLORS[n] ?? 1}`} />
              {gpuName(gpu)}
            </li>
          ))}
          {host.gpus.length > gpus.length ? (
            <li class="muted">
              {gpus.length} of {host.gpus.length} GPUs are shown
            </li>
          ) : null}
        </ul>
      ) : null}
      <div class="host-curves">
        {shown.map((curve) => (
          <div class="panel body-only">
            <Chart
              id={`chart-${curve.key}`}
              title={curve.title}
              small
              time
              axis="Time"
              unit={curve.unit}
              max={"max" in curve ? curve.max : undefined}
              src={address()}
              series={
                gpus.length > 0
                  ? gpus.map((gpu, n) => ({
                      key: curve.key,
                      label: gpuName(gpu),
                      color: COLORS[n] ?? 1,
                      src: address(gpu.uuid),
                    }))
                  : [{ key: curve.key, label: host.name, color: 1 }]
              }
            />
          </div>
        ))}
      </div>
    </section>
  );
}

/** The maintenance window. */
function Maintenance({ host, error }: HostProps) {
  const action = `/hosts/${encodeURIComponent(host.id)}`;
  return (
    <section class="panel">
      <header>
        <h2>Maintenance</h2>
      </header>
      <div class="body stack">
        <p class="small muted">
          Draining stops jobs after a checkpoint. They resume on another host, or wait until this host is ready again. A
          maintenance window drains the host at its start and makes it ready at its end.
        </p>
        <PostForm action={`${action}/maintenance`} class="form">
          <div class="fields">
            <div class="field">
              <label for="from">From (UTC)</label>
              <input id="from" name="from" type="datetime-local" required />
            </div>
            <div class="field">
              <label for="until">Until (UTC)</label>
              <input id="until" name="until" type="datetime-local" required />
            </div>
            <div class="field">
              <label for="note">Reason</label>
              <input id="note" name="note" maxlength={200} placeholder="driver update" />
            </div>
          </div>
          {error ? (
            <div class="error" role="alert">
              <Icon name="warn" />
              <span>{error}</span>
            </div>
          ) : null}
          <div class="row">
            <button type="submit" class="button">
              Schedule
            </button>
          </div>
        </PostForm>
        {host.maintenance ? (
          <ActionButton action={`${action}/maintenance`} class="plain" fields={{ from: "", until: "" }}>
            Cancel the window
          </ActionButton>
        ) : null}
      </div>
    </section>
  );
}

function Shares({ host }: { host: HostView }) {
  return (
    <Table
      label="GPUs"
      still
      rows={host.gpus}
      rowId={(gpu) => gpu.uuid}
      columns={[
        { key: "name", label: "GPU", name: true, render: (gpu) => `${gpuName(gpu)} · ${gpu.model}` },
        { key: "uuid", label: "UUID", wide: true, render: (gpu) => <CopyId id={gpu.uuid} /> },
        {
          key: "memory",
          label: "Memory",
          end: true,
          wide: true,
          render: (gpu) => formatBytes(gpu.memory_mb * 2 ** 20),
        },
        {
          key: "shares",
          label: "Shares",
          render: (gpu) => (
            <PostForm action={`/hosts/${encodeURIComponent(host.id)}/shares`} class="row fixed">
              <input type="hidden" name="gpu" value={gpu.uuid} />
              <input
                type="number"
                name="shares"
                min={1}
                max={16}
                value={String(gpu.shares)}
                aria-label={`Jobs that may share ${gpuName(gpu)}`}
              />
              <button type="submit" class="button small">
                Set
              </button>
            </PostForm>
          ),
        },
      ]}
    />
  );
}

function Actions({ host }: { host: HostView }) {
  const action = `/hosts/${encodeURIComponent(host.id)}/state`;
  if (host.state === "cordoned" || host.state === "draining")
    return (
      <ActionButton action={action} class="primary" fields={{ state: "ready" }}>
        Make ready
      </ActionButton>
    );
  return (
    <>
      <SheetForm
        id="rename"
        action={`/hosts/${encodeURIComponent(host.id)}/name`}
        label="Rename"
        buttonClass="button"
        title={`Rename ${host.name}`}
        verb="Rename"
      >
        <TextField
          name="name"
          label="Name"
          maxlength={200}
          value={host.name}
          hint={`Empty: ${host.reported_name}, as the machine reports it`}
        />
      </SheetForm>
      {host.state === "silent" ? (
        <ConfirmForm
          id="forget"
          action={`/hosts/${encodeURIComponent(host.id)}/forget`}
          label="Remove"
          title={`Remove ${host.name}?`}
          lost="The host and its GPUs are removed from the list. They are added again when the host is reachable."
          verb="Remove this host"
        />
      ) : null}
      <ActionButton action={action} fields={{ state: "cordoned" }} title="No new jobs; running jobs continue">
        Cordon
      </ActionButton>
      <ConfirmForm
        id="drain"
        action={action}
        fields={{ state: "draining" }}
        label="Drain"
        title={`Drain ${host.name}?`}
        lost="The host gets no new jobs. Its training jobs save a checkpoint, then resume on another host or wait. Its endpoints stop."
        verb="Drain this host"
      />
    </>
  );
}

export function HostPage(props: HostProps) {
  const { host, admin } = props;
  return (
    <Layout
      title={host.name}
      crumbs={[{ label: "Hosts", href: "/hosts" }]}
      beside={<StateBadge state={host.state} />}
      actions={admin ? <Actions host={host} /> : null}
      live={{ topics: ["hosts", "jobs"] }}
    >
      <div class="stack loose">
        <HostBody {...props} />
        <Curves {...props} />
        <div class="split">
          <div class="stack">
            {admin ? <Maintenance {...props} /> : null}
            {admin && host.gpus.length > 0 ? <Shares host={host} /> : null}
          </div>
          <aside class="panel body-only">
            <KeyValue
              rows={[
                ["ID", <CopyId id={host.id} full />],
                ["Provider", host.provider],
                host.name === host.reported_name ? null : ["Reported name", host.reported_name],
                ["Running jobs", String(host.running)],
                ["Last heartbeat", <Time at={host.seen_at} />],
              ]}
            />
          </aside>
        </div>
      </div>
    </Layout>
  );
}
