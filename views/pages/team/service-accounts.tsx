/** Service accounts of a team: the list on the team's page, and the page of one with its keys. */
import type { KeyView } from "../../../src/accounts/api-keys/model.ts";
import { SERVICE_ROLES, type ServiceAccountRow } from "../../../src/accounts/service-accounts/model.ts";
import { ROLE_NAMES } from "../../../src/roles.ts";
import { Layout } from "../../layout.tsx";
import { ConfirmForm, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { TeamRoleSelect } from "../admin/users.tsx";
import { KeyTable, NewKeyForm, NewSecret, type TypedKey } from "../settings/keys.tsx";

const pathOf = (id: string) => `/team/service-accounts/${encodeURIComponent(id)}`;

/** The panel of the team's page. */
export function ServiceAccounts({ rows, error, typed }: { rows: ServiceAccountRow[]; error?: string; typed?: string }) {
  return (
    <section class="panel" id="service-accounts">
      <header>
        <h2>Service accounts</h2>
        <SheetForm
          id="service-account"
          action="/team/service-accounts"
          label="Create service account"
          icon="plus"
          buttonClass="button small"
          title="Create a service account"
          verb="Create service account"
          error={typed === undefined ? undefined : error}
        >
          <p class="muted small">
            An account of the team for a program. It acts only with its API keys, cannot sign in, and stays when people
            leave.
          </p>
          <TextField
            name="name"
            label="Name"
            required
            maxlength={200}
            placeholder="Nightly evaluation"
            value={typed ?? ""}
          />
          <TeamRoleSelect id="service-role" name="role" value="member" roles={SERVICE_ROLES} />
        </SheetForm>
      </header>
      {rows.length === 0 ? (
        <Empty slim icon="shield" title="No service accounts">
          Give a pipeline or an application an account of its own: its keys do not end when somebody leaves the team.
        </Empty>
      ) : (
        <Table
          still
          label="Service accounts"
          rows={rows}
          rowId={(row) => row.id}
          columns={[
            {
              key: "name",
              label: "Name",
              name: true,
              render: (row) => (
                <RowName
                  href={pathOf(row.id)}
                  name={row.name}
                  sub={row.creator ? `created by ${row.creator}` : undefined}
                />
              ),
            },
            { key: "role", label: "Role", render: (row) => ROLE_NAMES[row.role] },
            { key: "keys", label: "Keys", end: true, render: (row) => row.keys },
            { key: "used", label: "Last used", wide: true, render: (row) => <Time at={row.lastUsedAt} /> },
          ]}
        />
      )}
    </section>
  );
}

export interface ServiceAccountProps {
  account: ServiceAccountRow;
  team: string;
  keys: KeyView[];
  keyMaxDays: number;
  baseUrl: string;
  /** A key that was just created, shown only once. */
  created?: { name: string; key: string };
  error?: string;
  /** The key as typed, when it was refused. */
  typed?: TypedKey;
}

export function ServiceAccountPage(props: ServiceAccountProps) {
  const { account, team, keys, created, error, typed } = props;
  const path = pathOf(account.id);
  return (
    <Layout
      title={account.name}
      crumbs={[{ label: team, href: "/team#service-accounts" }]}
      actions={
        <>
          <SheetForm
            id="change"
            action={path}
            label="Change"
            buttonClass="button"
            title={`Change “${account.name}”`}
            verb="Save"
          >
            <TextField name="name" label="Name" required maxlength={200} value={account.name} />
            <TeamRoleSelect id="change-role" name="role" value={account.role} roles={SERVICE_ROLES} />
            <p class="muted small">
              A new role holds at once, also for its keys. What they may no longer do is refused.
            </p>
          </SheetForm>
          <ConfirmForm
            id="remove"
            action={`${path}/remove`}
            label="Remove"
            buttonClass="button danger"
            title={`Remove “${account.name}”?`}
            lost="Its API keys end at once. What it owns becomes yours. This cannot be undone."
            verb="Remove the service account"
          />
        </>
      }
    >
      <div class="stack">
        {created ? (
          <NewSecret title={`Key “${created.name}” created`} secret={created.key} baseUrl={props.baseUrl} />
        ) : null}
        {error ? (
          <div class={typed ? "only-without-script" : undefined}>
            <Notice kind="bad" alert>
              {error}
            </Notice>
          </div>
        ) : null}
        <section class="panel" id="keys">
          <header>
            <h2>API keys</h2>
            <NewKeyForm
              action={`${path}/keys`}
              keyMaxDays={props.keyMaxDays}
              bound="the role of this account"
              error={typed ? error : undefined}
              typed={typed}
            />
          </header>
          <KeyTable owner={false} keys={keys} empty="A program sends one with its requests and acts as this account." />
        </section>
        <section class="panel">
          <header>
            <h2>Service account</h2>
          </header>
          <div class="body">
            <KeyValue
              rows={[
                ["Role", ROLE_NAMES[account.role]],
                account.creator !== null && ["Created by", account.creator, "it stays when they leave the team"],
                ["Created", <Time at={account.createdAt} />],
                ["Last used", <Time at={account.lastUsedAt} />],
                ["ID", <CopyId id={account.id} full />],
              ]}
            />
          </div>
        </section>
      </div>
    </Layout>
  );
}
