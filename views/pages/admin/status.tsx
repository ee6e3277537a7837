/** The state of the installation: checks, background work, disk space by kind, accepted licenses. */

import type { SpaceRow } from "../../../src/insights/installation/space.ts";
import type { AcceptanceRow, BackgroundWork } from "../../../src/insights/installation/work.ts";
import { formatBytes, formatInteger, plural } from "../../../src/lib/text/format.ts";
import type { BucketState } from "../../../src/objects/sweep.ts";
import { usePage } from "../../context.ts";
import { withCode } from "../../parts/code-spans.tsx";
import { ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, SpaceBar, Stat, Stats, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";
import { ObjectStore } from "./object-store.tsx";

/** A check of `doctor`. */
interface Check {
  name: string;
  state: "ok" | "info" | "gap" | "missing";
  found: string;
  advice: string | null;
}

export interface StatusProps {
  version: string;
  installation: string;
  dataDir: string;
  environment: string;
  memoryBytes: number;
  startedAt: number;
  diskFree: number;
  diskTotal: number;
  work: BackgroundWork;
  space: SpaceRow[];
  leftovers: { environments: number; bytes: number };
  licenses: AcceptanceRow[];
  /** Null when no bucket is used. */
  bucket: BucketState | null;
  /** Null until they were made: they start programs, which takes a second or two. */
  checks: Check[] | null;
  /** Whether the setting metrics_token is set. */
  metricsToken: boolean;
}

const KINDS: Record<string, string> = {
  train: "training job",
  evaluate: "evaluation",
  export: "export",
  serve: "endpoint",
};

export function StatusChecks({ checks }: Pick<StatusProps, "checks">) {
  const { url } = usePage();
  const address = `${url.pathname}?checks=yes`;
  return (
    <section
      id="checks"
      class="panel"
      {...(checks ? {} : { "hx-get": address, "hx-trigger": "load", "hx-target": "this", "hx-swap": "outerMorph" })}
    >
      <header>
        <h2>Checks</h2>
        <a class="button small" href={address}>
          Check again
        </a>
      </header>
      {checks ? (
        <Table
          still
          label="Checks"
          rows={checks}
          rowId={(row) => row.name.replace(/\W+/g, "-")}
          columns={[
            { key: "state", label: "State", tight: true, render: (row) => <StateBadge state={`check_${row.state}`} /> },
            { key: "name", label: "Check", wide: true, render: (row) => <span class="nowrap">{row.name}</span> },
            {
              key: "found",
              label: "Found",
              render: (row) => (
                <>
                  <strong class="narrow">{row.name}: </strong>
                  <span class="wrap-any">{withCode(row.found)}</span>
                  {row.advice ? <span class="sub wrap-any">{withCode(row.advice)}</span> : null}
                </>
              ),
            },
          ]}
        />
      ) : (
        <p class="body muted small">Checking the database, Python, disk, memory, GPUs and Docker…</p>
      )}
    </section>
  );
}

function Work({ work }: Pick<StatusProps, "work">) {
  const running = work.running.map(({ kind, count }) => plural(count, KINDS[kind] ?? kind)).join(", ");
  return (
    <section class="panel">
      <header>
        <h2>Background work</h2>
        <a class="button small" href="/queue">
          Open the queue
        </a>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ["Running", running || "nothing"],
            ["Waiting jobs", formatInteger(work.waiting)],
            ["Datasets being validated", formatInteger(work.validating)],
            ["Base models being installed", formatInteger(work.installing)],
          ]}
        />
      </div>
    </section>
  );
}

function Space({ space, leftovers, diskFree, diskTotal }: StatusProps) {
  const rows = space.filter((row) => row.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  const largest = Math.max(1, ...rows.map((row) => row.bytes));
  return (
    <section class="panel">
      <header>
        <h2>Disk</h2>
        {leftovers.environments > 0 ? (
          <ConfirmForm
            id="leftovers"
            action="/admin/status/clean"
            label={`Free ${formatBytes(leftovers.bytes)}`}
            buttonClass="button small"
            title="Delete old trainer environments?"
            lost={`${plural(leftovers.environments, "environment")} of earlier versions: ${formatBytes(leftovers.bytes)}. The current one stays.`}
            verb="Delete them"
          />
        ) : null}
      </header>
      <div class="body stack">
        <SpaceBar label="In use" used={diskTotal - diskFree} total={diskTotal} />
        <Table
          still
          label="Disk space by kind"
          rows={rows}
          rowId={(row) => row.kind.replaceAll(" ", "-")}
          columns={[
            { key: "kind", label: "Kind", render: (row) => row.kind },
            {
              key: "share",
              label: "Share",
              hideLabel: true,
              wide: true,
              render: (row) => <progress aria-label={row.kind} max={1} value={row.bytes / largest} />,
            },
            { key: "bytes", label: "Size", end: true, render: (row) => formatBytes(row.bytes) },
          ]}
        />
        <p class="small muted">
          Delete checkpoints on the page of a job, models and exports on the page of a model, backups in{" "}
          <a href="/admin/backups">Backups</a>.
        </p>
      </div>
    </section>
  );
}

function Licenses({ licenses }: Pick<StatusProps, "licenses">) {
  return (
    <section class="panel">
      <header>
        <h2>Accepted licenses</h2>
      </header>
      {licenses.length === 0 ? (
        <p class="body muted small">
          None. A model with a license that needs acceptance is listed here once a team accepts it.
        </p>
      ) : (
        <Table
          still
          label="Accepted licenses"
          rows={licenses}
          rowId={(row) => row.id}
          columns={[
            {
              key: "model",
              label: "Model",
              name: true,
              render: (row) => (
                <>
                  <a href={`/models/${encodeURIComponent(row.model)}`}>{row.model}</a>
                  <span class="sub">{row.license}</span>
                </>
              ),
            },
            { key: "team", label: "Team", render: (row) => row.team },
            { key: "by", label: "Accepted by", wide: true, render: (row) => row.by ?? "deleted user" },
            { key: "at", label: "Time", wide: true, render: (row) => <Time at={row.at} /> },
          ]}
        />
      )}
    </section>
  );
}

export function StatusPage(props: StatusProps) {
  return (
    <AdminLayout title="Status">
      <Stats>
        <Stat label="Version">{props.version}</Stat>
        <Stat label="Running since">
          <Time at={props.startedAt} />
        </Stat>
        <Stat label="Server memory">{formatBytes(props.memoryBytes)}</Stat>
      </Stats>
      <section class="panel">
        <div class="body">
          <KeyValue
            rows={[
              ["Installation", <CopyId id={props.installation} full />],
              ["Data directory", <code class="wrap-any">{props.dataDir}</code>],
              [
                "Trainer environment",
                props.environment === "none" ? (
                  "created when the first job needs it"
                ) : (
                  <CopyId id={props.environment} full />
                ),
              ],
              ["Health check", <code>GET /healthz</code>, "For load balancers and monitoring; needs no key."],
              [
                "Metrics",
                <code>GET /metrics</code>,
                props.metricsToken
                  ? "For Prometheus, with the token of the setting metrics_token as bearer token."
                  : "For Prometheus on this machine. Set metrics_token to collect them from another one or through a proxy.",
              ],
            ]}
          />
        </div>
      </section>
      {props.checks?.some((check) => check.state === "missing") ? (
        <Notice kind="bad">Something that training needs is missing on this machine. See the checks.</Notice>
      ) : null}
      <StatusChecks {...props} />
      <div class="columns">
        <Space {...props} />
        <div class="stack">
          {props.bucket ? <ObjectStore state={props.bucket} /> : null}
          <Work {...props} />
          <Licenses {...props} />
        </div>
      </div>
    </AdminLayout>
  );
}
