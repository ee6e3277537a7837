/** The archives of a user or an organization: start one, its progress, and the finished files. */

import type { ArchiveView } from "../../../src/custody/archives/model.ts";
import { KEEP_DAYS } from "../../../src/custody/archives/model.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { type Column, liveOn, Table } from "../../parts/table.tsx";
import { CopyId, Progress, Time } from "../../parts/value.tsx";
import { SettingsLayout } from "../settings/frame.tsx";

export interface ArchivesProps {
  scope: ArchiveView["scope"];
  /** Path of this page. */
  path: string;
  /** Whose data it is. */
  name: string;
  archives: ArchiveView[];
  error?: string;
}

const isOpen = ({ status }: ArchiveView) => status === "waiting" || status === "running";

function StateCell({ row }: { row: ArchiveView }) {
  if (row.status !== "running") return <StateBadge state={row.status} />;
  return (
    <Progress
      label="Writing the archive"
      fraction={row.bytes_total ? row.bytes_done / row.bytes_total : null}
      left={
        row.bytes_total === null
          ? "Writing"
          : `${formatBytes(row.bytes_done)} of ${formatBytes(row.bytes_total)} written`
      }
    />
  );
}

const columnsOf = (path: string): Column<ArchiveView>[] => [
  {
    key: "started",
    label: "Started",
    name: true,
    render: (row) => (
      <>
        <Time at={row.created_at * 1000} />
        <span class="sub">{row.checkpoints ? "With checkpoints" : "Without checkpoints"}</span>
        {row.error ? <span class="sub wrap-any">{row.error}</span> : null}
      </>
    ),
  },
  { key: "state", label: "State", render: (row) => <StateCell row={row} /> },
  {
    key: "size",
    label: "Size",
    end: true,
    render: (row) => (row.bytes === null ? <span class="muted">–</span> : formatBytes(row.bytes)),
  },
  {
    key: "sha256",
    label: "SHA-256",
    wide: true,
    extra: true,
    render: (row) => (row.sha256 ? <CopyId id={row.sha256} /> : <span class="muted">–</span>),
  },
  {
    key: "until",
    label: "Kept until",
    wide: true,
    render: (row) => <Time at={row.expires_at === null ? null : row.expires_at * 1000} />,
  },
  {
    key: "action",
    label: "Next step",
    hideLabel: true,
    act: true,
    render: (row) => (
      <div class="row tight">
        {row.status === "done" ? (
          <a class="button small" href={`${path}/${row.id}/download`} download>
            <Icon name="download" />
            Download
          </a>
        ) : null}
        <ConfirmForm
          id={`archive-${row.id}`}
          action={`${path}/${row.id}/delete`}
          label={isOpen(row) ? "Cancel" : "Delete"}
          buttonClass="button small"
          title={isOpen(row) ? "Cancel this archive?" : "Delete this archive?"}
          lost={
            isOpen(row)
              ? "What has been written is deleted. Your data stays as it is."
              : "The file is deleted from the server. Your data stays as it is, and you can create another archive."
          }
          verb={isOpen(row) ? "Cancel archive" : "Delete archive"}
        />
      </div>
    ),
  },
];

/** The archives, newest first; replaced while the page is open. */
export function ArchiveList({ path, archives }: ArchivesProps) {
  const { url } = usePage();
  return (
    <div id="archive-list" {...liveOn(new URL(path, url), "archives")}>
      {archives.length > 0 ? (
        <section class="panel" aria-label="Archives">
          <Table label="Archives" columns={columnsOf(path)} rows={archives} rowId={(row) => row.id} />
        </section>
      ) : (
        <Empty slim icon="file" title="No archive yet">
          An archive is one ZIP file that other programs can read: tables as JSON lines, models as safetensors, and a
          manifest with the SHA-256 of every file.
        </Empty>
      )}
    </div>
  );
}

const PARTS = {
  user: "Your profile, sessions, API keys without their secrets, usage, notices, accepted terms, audit entries, and what you created: datasets with their files, jobs with metrics and logs, models, evaluations, sweeps and deployments.",
  organization:
    "Members, invitations, limits, usage, the audit log, accepted terms, and everything the team has: datasets with their files, jobs with metrics and logs, models, evaluations, sweeps, deployments, stored answers and webhooks.",
};

function Content(props: ArchivesProps) {
  const { scope, path, name, error } = props;
  return (
    <div class="stack loose">
      <section class="panel">
        <header>
          <h2>{scope === "user" ? "Export your data" : `Export everything of ${name}`}</h2>
        </header>
        <PostForm action={path} class="body form">
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <p>{PARTS[scope]}</p>
          <p class="small muted">
            The archive is written in the background. You get a notice when it is ready, and can download it for{" "}
            {KEEP_DAYS} days. Passwords, keys and other secrets are not part of it.
          </p>
          <label class="check">
            <input type="checkbox" name="checkpoints" value="on" checked />
            Include checkpoints
          </label>
          <p class="small muted">The final models are always included. Checkpoints can be many times larger.</p>
          <div class="row">
            <button type="submit" class="button primary">
              Create archive
            </button>
          </div>
        </PostForm>
      </section>
      <ArchiveList {...props} />
    </div>
  );
}

export function ArchivesPage(props: ArchivesProps) {
  const live = { topics: ["archives"] };
  if (props.scope === "user")
    return (
      <SettingsLayout title="Your data" live={live}>
        <Content {...props} />
      </SettingsLayout>
    );
  return (
    <Layout title="Export" crumbs={[{ label: props.name, href: "/team" }]} live={live}>
      <Content {...props} />
    </Layout>
  );
}
