/** Administration: people, plugins, the audit log and the state of the installation, as tabs of one page. */
import type { AuditRow } from "../../../src/accounts/audit/service.ts";
import type { UserRow } from "../../../src/accounts/organizations/model.ts";
import type { ProviderView } from "../../../src/compute/providers/model.ts";
import type { PluginProblem } from "../../../src/compute/providers/plugins.ts";
import { formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { ActionButton, ConfirmForm, Field, Tabs, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";

export interface AdminProps {
  tab: "people" | "plugins" | "audit" | "status";
  users: { items: UserRow[]; hasMore: boolean; last: string | null };
  me: string;
  invited?: { email: string; link: string };
  error?: string;
  providers: ProviderView[];
  problems: PluginProblem[];
  audit: { items: AuditRow[]; hasMore: boolean; last: string | null };
  chain: { rows: number; brokenAt: string | null } | null;
  status: {
    version: string;
    installation: string;
    dataDir: string;
    databaseBytes: number;
    diskFree: number;
    diskTotal: number;
    memoryMb: number;
    startedAt: number;
    environment: string;
  };
}

function People({ users, me, invited, error }: AdminProps) {
  return (
    <div class="stack">
      {invited ? (
        <Notice kind="ok" title={`Invitation for ${invited.email}`} alert>
          <span>Send this link yourself. It works once, for this address only, and is not shown again.</span>
          <CopyId id={invited.link} full />
        </Notice>
      ) : null}
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <section class="panel">
        <header>
          <h2>People</h2>
        </header>
        <Table
          still
          label="Users"
          rows={users.items}
          rowId={(row) => row.id}
          columns={[
            {
              key: "email",
              label: "Person",
              name: true,
              render: (row) => (
                <>
                  <strong dir="auto">{row.name}</strong>
                  <span class="sub">{row.email}</span>
                </>
              ),
            },
            { key: "role", label: "Role", render: (row) => (row.role === "admin" ? "Administrator" : "Member") },
            { key: "state", label: "State", wide: true, render: (row) => (row.disabled ? "Disabled" : "Active") },
            { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
            {
              key: "act",
              label: "Actions",
              hideLabel: true,
              end: true,
              render: (row) =>
                row.id === me ? (
                  <span class="muted">You</span>
                ) : row.disabled ? (
                  <ActionButton action={`/admin/users/${row.id}`} fields={{ disabled: "false" }} class="small">
                    Enable
                  </ActionButton>
                ) : (
                  <ConfirmForm
                    id={row.id}
                    action={`/admin/users/${row.id}`}
                    fields={{ disabled: "true" }}
                    label="Disable"
                    buttonClass="button danger small"
                    title={`Disable ${row.email}?`}
                    lost="Sessions end and keys stop working at once. No data is deleted; you can enable the account again."
                    verb="Disable the account"
                  />
                ),
            },
          ]}
        />
        <Pager shown={users.items.length} hasMore={users.hasMore} last={users.last} />
        <form class="body form" method="post" action="/admin/invite">
          <div class="fields">
            <TextField name="email" label="Invite by e-mail" type="email" required />
            <Field
              id="invite-role"
              label="Role"
              render={(ids) => (
                <select name="role" {...ids}>
                  <option value="member">Member</option>
                  <option value="admin">Administrator</option>
                </select>
              )}
            />
          </div>
          <div class="row">
            <button type="submit" class="button primary">
              Create an invitation link
            </button>
          </div>
        </form>
      </section>
    </div>
  );
}

function Plugins({ providers, problems }: AdminProps) {
  return (
    <div class="stack">
      {problems.map((problem) => (
        <Notice kind="warn" title={`${problem.plugin} is not loaded (${problem.stage})`}>
          {problem.message} {problem.remedy}
        </Notice>
      ))}
      <section class="panel">
        <header>
          <h2>Active GPU providers</h2>
        </header>
        <Table
          still
          label="Providers"
          rows={providers}
          rowId={(row) => row.id}
          columns={[
            { key: "name", label: "Provider", name: true, render: (row) => row.title },
            { key: "kind", label: "Kind", render: (row) => row.kind },
            {
              key: "can",
              label: "Capabilities",
              wide: true,
              render: (row) =>
                Object.entries(row.capabilities)
                  .filter(([, on]) => on)
                  .map(([name]) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`))
                  .join(", "),
            },
          ]}
        />
      </section>
      <p class="small muted">
        Other providers are folders in <code>plugins/</code> of the data directory, enabled by name. To write one, see
        docs/plugin-authors.md.
      </p>
    </div>
  );
}

function Audit({ audit, chain }: AdminProps) {
  return (
    <div class="stack">
      {chain ? (
        chain.brokenAt ? (
          <Notice kind="bad" title="Integrity check failed">
            Entry {chain.brokenAt} or an earlier one was changed or removed.
          </Notice>
        ) : (
          <Notice kind="ok" title={`Intact: ${formatInteger(chain.rows)} entries`}>
            No entry was changed or removed.
          </Notice>
        )
      ) : (
        <div class="row">
          <a class="button" href="/admin?tab=audit&verify=yes">
            Verify log integrity
          </a>
          <span class="small muted">Each entry includes the hash of the previous entry.</span>
        </div>
      )}
      <Table
        still
        label="Audit log"
        rows={audit.items}
        rowId={(row) => row.id}
        columns={[
          { key: "at", label: "Time", tight: true, render: (row) => <Time at={row.at} /> },
          { key: "action", label: "Action", tight: true, render: (row) => <code>{row.action}</code> },
          {
            key: "target",
            label: "Target",
            name: true,
            render: (row) => (
              <>
                <CopyId id={row.target} />
                {Object.keys(row.detail).length ? <span class="sub wrap-any">{JSON.stringify(row.detail)}</span> : null}
              </>
            ),
          },
          { key: "actor", label: "Actor", wide: true, render: (row) => <CopyId id={row.actor} /> },
        ]}
      />
      <Pager shown={audit.items.length} hasMore={audit.hasMore} last={audit.last} />
    </div>
  );
}

function Status({ status }: AdminProps) {
  return (
    <section class="panel">
      <div class="body">
        <KeyValue
          rows={[
            ["Version", status.version],
            ["Installation", <CopyId id={status.installation} full />],
            ["Running since", <Time at={status.startedAt} />],
            ["Data directory", <code class="wrap-any">{status.dataDir}</code>],
            ["Database", formatBytes(status.databaseBytes)],
            ["Disk", `${formatBytes(status.diskFree)} free of ${formatBytes(status.diskTotal)}`],
            ["Server memory", `${formatInteger(status.memoryMb)} MB`],
            [
              "Trainer environment",
              status.environment === "none" ? (
                "created when the first job needs it"
              ) : (
                <CopyId id={status.environment} />
              ),
            ],
            [
              "Backup",
              <code>finetune-lab backup --data {status.dataDir}</code>,
              "While the server runs; see the administrator's guide.",
            ],
          ]}
        />
      </div>
    </section>
  );
}

export function AdminPage(props: AdminProps) {
  const body = { people: People, plugins: Plugins, audit: Audit, status: Status }[props.tab];
  return (
    <Layout title="Administration">
      <div class="stack">
        <Tabs
          label="Administration"
          tabs={[
            { key: "people", label: "People" },
            { key: "plugins", label: "Plugins", count: props.problems.length || undefined },
            { key: "audit", label: "Audit" },
            { key: "status", label: "Status" },
          ]}
        />
        {body(props)}
      </div>
    </Layout>
  );
}
