/** Backups of the data directory: create, list, delete, and how to restore one. */
import type { BackupRow, BackupState } from "../../../src/insights/installation/backups.ts";
import { formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Table } from "../../parts/table.tsx";
import { CopyId, Snippet, Stat, Stats, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

interface BackupsProps {
  backups: BackupRow[];
  state: BackupState;
  /** The database is on another server, which this cannot back up. */
  remote: boolean;
  dataDir: string;
}

/** The list, which fetches itself again while a backup runs. */
export function BackupList({ backups, state }: BackupsProps) {
  const { url } = usePage();
  const running = state.startedAt !== null;
  const poll = running
    ? { "hx-get": url.pathname, "hx-trigger": "every 2s", "hx-target": "this", "hx-swap": "outerMorph" }
    : {};
  return (
    <div id="backups" class="stack" {...poll}>
      {running ? (
        <Notice kind="info" title="A backup is running">
          Started <Time at={state.startedAt} />. The server keeps working; you can leave this page.
        </Notice>
      ) : state.failure ? (
        <Notice kind="bad" title="The last backup failed">
          {state.failure}
        </Notice>
      ) : null}
      <Stats>
        <Stat label="Last success">{backups[0] ? <Time at={backups[0].madeAt} /> : "Never"}</Stat>
        <Stat label="Backups">{formatInteger(backups.length)}</Stat>
        <Stat label="Disk space">{formatBytes(backups.reduce((sum, one) => sum + one.bytes, 0))}</Stat>
      </Stats>
      <section class="panel">
        <header>
          <h2>Backups in the data directory</h2>
        </header>
        {backups.length === 0 ? (
          <Empty slim icon="save" title="No backups yet">
            A backup has the database, files, datasets, models and secrets. Its copy is verified when it is made.
          </Empty>
        ) : (
          <Table
            still
            label="Backups"
            rows={backups}
            rowId={(row) => row.name}
            columns={[
              {
                key: "path",
                label: "Directory",
                name: true,
                render: (row) => <CopyId id={row.path} full />,
              },
              { key: "at", label: "Created", render: (row) => <Time at={row.madeAt} /> },
              { key: "version", label: "Version", wide: true, render: (row) => row.version },
              { key: "files", label: "Files", end: true, wide: true, render: (row) => formatInteger(row.files) },
              { key: "bytes", label: "Size", end: true, render: (row) => formatBytes(row.bytes) },
              {
                key: "state",
                label: "State",
                wide: true,
                render: () => <StateBadge state="verified" />,
              },
              {
                key: "act",
                label: "Actions",
                hideLabel: true,
                act: true,
                render: (row) => (
                  <ConfirmForm
                    id={`backup-${row.name}`}
                    action={`/admin/backups/${row.name}/delete`}
                    label="Delete"
                    buttonClass="button danger small"
                    title="Delete this backup?"
                    lost={`${row.path} is deleted. This cannot be undone.`}
                    verb="Delete the backup"
                  />
                ),
              },
            ]}
          />
        )}
      </section>
    </div>
  );
}

export function BackupsPage(props: BackupsProps) {
  const { remote, dataDir, state } = props;
  return (
    <AdminLayout
      title="Backups"
      actions={
        remote || state.startedAt !== null ? null : (
          <ActionButton action="/admin/backups" class="primary">
            Back up now
          </ActionButton>
        )
      }
    >
      {remote ? (
        <Notice kind="warn" title="The database is on another server">
          Back it up there, and copy the data directory.
        </Notice>
      ) : null}
      <BackupList {...props} />
      <section class="panel">
        <header>
          <h2>Restore, and backups on another disk</h2>
        </header>
        <div class="body stack">
          <p class="small">
            A backup on the same disk does not survive the loss of that disk. Copy it away, or name a directory of
            another disk. Run it every night with cron or a systemd timer. Backups made elsewhere are not listed here.
          </p>
          <Snippet
            label="Back up to another disk"
            text={`finetune-lab backup /mnt/backup/$(date +%F) --data ${dataDir}`}
          />
          <p class="small">
            To restore, stop the server and choose an empty data directory. Every file is verified first.
          </p>
          <Snippet label="Restore" text={"finetune-lab restore DIRECTORY --data /new/data/directory"} />
        </div>
      </section>
    </AdminLayout>
  );
}
