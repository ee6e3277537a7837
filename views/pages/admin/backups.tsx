/** Backups in the data directory and in the bucket: create, list, delete, and how to restore one. */
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
  /** Why the bucket's are missing in the list; null when they are not. */
  problem: string | null;
  /** Where the next one goes, and how many stay in the bucket; 0 = all. */
  store: "disk" | "s3";
  keep: number;
  hasBucket: boolean;
  /** Files, models and archives are in the bucket, and not in backups. */
  objectsInBucket: boolean;
  dataDir: string;
}

const bytesIn = (backups: BackupRow[], store: BackupRow["store"]) =>
  backups.filter((one) => one.store === store).reduce((sum, one) => sum + one.bytes, 0);

/** The list, which fetches itself again while a backup runs. */
export function BackupList({ backups, state, problem, hasBucket, objectsInBucket }: BackupsProps) {
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
      {problem ? (
        <Notice kind="bad" title="The backups in the bucket cannot be listed">
          {problem}
        </Notice>
      ) : null}
      <Stats>
        <Stat label="Last success">{backups[0] ? <Time at={backups[0].madeAt} /> : "Never"}</Stat>
        <Stat label="Backups">{formatInteger(backups.length)}</Stat>
        <Stat label="Disk space">{formatBytes(bytesIn(backups, "disk"))}</Stat>
        {hasBucket ? <Stat label="In the bucket">{formatBytes(bytesIn(backups, "s3"))}</Stat> : null}
      </Stats>
      <section class="panel">
        <header>
          <h2>{hasBucket ? "Backups in the data directory and the bucket" : "Backups in the data directory"}</h2>
        </header>
        {backups.length === 0 ? (
          <Empty slim icon="save" title="No backups yet">
            {objectsInBucket
              ? "A backup has the database, secrets and what is in the data directory."
              : "A backup has the database, files, datasets, models and secrets."}{" "}
            Its copy is verified when it is made.
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
                label: hasBucket ? "Directory or name" : "Directory",
                name: true,
                render: (row) => <CopyId id={row.store === "s3" ? row.name : row.path} full />,
              },
              ...(hasBucket
                ? [
                    {
                      key: "store",
                      label: "Store",
                      wide: true,
                      render: (row: BackupRow) => (row.store === "s3" ? "Bucket" : "Disk"),
                    },
                  ]
                : []),
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
  const { store, keep, hasBucket, objectsInBucket, dataDir, state } = props;
  return (
    <AdminLayout
      title="Backups"
      actions={
        state.startedAt !== null ? null : (
          <ActionButton action="/admin/backups" class="primary">
            {store === "s3" ? "Back up to the bucket" : "Back up now"}
          </ActionButton>
        )
      }
    >
      {objectsInBucket ? (
        <Notice kind="info" title="Objects of the bucket are not part of a backup">
          Uploaded files, datasets, checkpoints, models, exports and archives are in the bucket. Protect them there,
          with versioning or replication.
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
          {hasBucket ? (
            <>
              <p class="small">
                Backups in the bucket are encrypted with backup_key, which is needed to restore them: keep a copy of it
                elsewhere. {keep > 0 ? `The newest ${keep} are kept.` : "All are kept (backup_keep)."}
              </p>
              <Snippet label="Back up to the bucket" text={`finetune-lab backup --to s3 --data ${dataDir}`} />
            </>
          ) : null}
          <p class="small">
            To restore, stop the server and choose an empty data directory. Every file is verified first.
          </p>
          <Snippet label="Restore" text={"finetune-lab restore DIRECTORY --data /new/data/directory"} />
          {hasBucket ? (
            <Snippet
              label="Restore from the bucket"
              text={"finetune-lab restore --from s3 NAME --data /new/data/directory"}
            />
          ) : null}
        </div>
      </section>
    </AdminLayout>
  );
}
