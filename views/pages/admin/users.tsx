/** Users and pending invitations of the installation, and what each role may do. */
import type { Invitation, OrganizationRow, UserRow } from "../../../src/accounts/organizations/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { usePage } from "../../context.ts";
import { ActionButton, ConfirmForm, Field, Filters, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

export interface UsersProps {
  users: Listed<UserRow>;
  invitations: Invitation[];
  teams: OrganizationRow[];
  /** The team of the administrator, preselected for invitations. */
  org: string;
  /** A link that was just created, shown only once. */
  invited?: { email: string; link: string };
  error?: string;
  /** The address as typed, when the invitation was refused. */
  typed?: string;
}

export const roleName = (role: "admin" | "member") => (role === "admin" ? "Administrator" : "Member");

/** What a role may do, in a sentence. */
export const ROLES = {
  member:
    "Uploads data, trains, evaluates, deploys and chats within their team, sees its jobs, models and usage, and makes API keys of their own.",
  admin:
    "Does everything a member does, and manages users, teams, hosts, providers and every team's share of the queue, sees the audit log and revokes keys of their team.",
} as const;

/** A link to pass on, with what it is for. */
export function OneTimeLink({ title, link, children }: { title: string; link: string; children: string }) {
  return (
    <Notice kind="ok" title={title} alert>
      <span>{children}</span>
      <CopyId id={link} full />
    </Notice>
  );
}

export function RoleSelect({ id, value = "member" }: { id: string; value?: "admin" | "member" }) {
  return (
    <Field
      id={id}
      label="Role"
      render={(ids) => (
        <select name="role" {...ids}>
          <option value="member" selected={value === "member"}>
            Member
          </option>
          <option value="admin" selected={value === "admin"}>
            Administrator
          </option>
        </select>
      )}
    />
  );
}

export function TeamSelect({ id, teams, value }: { id: string; teams: OrganizationRow[]; value: string | null }) {
  return (
    <Field
      id={id}
      label="Team"
      render={(ids) => (
        <select name="organization" {...ids}>
          {teams.map((team) => (
            <option value={team.id} selected={team.id === value}>
              {team.name}
            </option>
          ))}
        </select>
      )}
    />
  );
}

function InviteForm({ teams, org, error, typed }: UsersProps) {
  return (
    <SheetForm
      id="invite"
      action="/admin/invite"
      label="Invite user"
      icon="plus"
      title="Invite a user"
      verb="Create invitation link"
      error={typed === undefined ? undefined : error}
    >
      <p class="muted small">You get a link to send yourself. It works once, for this address only, within 7 days.</p>
      <TextField name="email" label="E-mail" type="email" required maxlength={254} value={typed ?? ""} />
      <div class="fields">
        <RoleSelect id="invite-role" />
        <TeamSelect id="invite-team" teams={teams} value={org} />
      </div>
    </SheetForm>
  );
}

export function UserList({ users }: Pick<UsersProps, "users">) {
  return (
    <section id="users" class="panel" aria-label="Users">
      {users.items.length === 0 ? (
        <Empty slim icon="search" title="No matches">
          Try another part of the name or the address.
        </Empty>
      ) : (
        <Table
          label="Users"
          rows={users.items}
          rowId={(row) => row.id}
          columns={[
            {
              key: "user",
              label: "User",
              name: true,
              render: (row) => <RowName href={`/admin/users/${row.id}`} name={row.name} sub={row.email} />,
            },
            { key: "role", label: "Role", render: (row) => roleName(row.role) },
            { key: "team", label: "Team", wide: true, render: (row) => row.orgName ?? "–" },
            {
              key: "seen",
              label: "Last seen",
              wide: true,
              render: (row) => (row.lastSeenAt ? <Time at={row.lastSeenAt} /> : <span class="muted">Never</span>),
            },
            {
              key: "state",
              label: "State",
              wide: true,
              render: (row) => <StateBadge state={row.disabled ? "disabled" : "active"} />,
            },
          ]}
        />
      )}
      <Pager shown={users.items.length} hasMore={users.hasMore} last={users.last} fragment="users" order="name" />
    </section>
  );
}

function Invitations({ invitations, teams }: Pick<UsersProps, "invitations" | "teams">) {
  const { now } = usePage();
  return (
    <section class="panel">
      <header>
        <h2>Pending invitations</h2>
      </header>
      {invitations.length === 0 ? (
        <p class="body muted small">None. An invitation is listed here until it is used or revoked.</p>
      ) : (
        <Table
          still
          label="Pending invitations"
          rows={invitations}
          rowId={(row) => row.id}
          columns={[
            {
              key: "email",
              label: "E-mail",
              name: true,
              render: (row) => (
                <>
                  <strong>{row.email}</strong>
                  <span class="sub">
                    {roleName(row.role)}, {teams.find((team) => team.id === row.org)?.name ?? row.org}
                  </span>
                </>
              ),
            },
            {
              key: "expires",
              label: "Expires",
              render: (row) => (row.expiresAt <= now ? <StateBadge state="expired" /> : <Time at={row.expiresAt} />),
            },
            {
              key: "act",
              label: "Actions",
              hideLabel: true,
              end: true,
              render: (row) => (
                <div class="row end">
                  <ActionButton action={`/admin/invitations/${row.id}/renew`} class="small">
                    New link
                  </ActionButton>
                  <ConfirmForm
                    id={row.id}
                    action={`/admin/invitations/${row.id}/revoke`}
                    label="Revoke"
                    buttonClass="button danger small"
                    title={`Revoke the invitation of ${row.email}?`}
                    lost="Its link stops working at once. You can invite the address again."
                    verb="Revoke the invitation"
                  />
                </div>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

export function UsersPage(props: UsersProps) {
  const { invited, error, typed } = props;
  return (
    <AdminLayout title="Users" actions={<InviteForm {...props} />}>
      {invited ? (
        <OneTimeLink title={`Invitation for ${invited.email}`} link={invited.link}>
          Send this link yourself. It works once, for this address only, and is not shown again.
        </OneTimeLink>
      ) : null}
      {error ? (
        <div class={typed === undefined ? undefined : "only-without-script"}>
          <Notice kind="bad" alert>
            {error}
          </Notice>
        </div>
      ) : null}
      <Filters fragment="users" search={{ placeholder: "Search users" }} />
      <UserList {...props} />
      <Invitations {...props} />
      <section class="panel">
        <header>
          <h2>Roles</h2>
        </header>
        <div class="body">
          <KeyValue
            rows={[
              ["Member", ROLES.member],
              ["Administrator", ROLES.admin],
            ]}
          />
        </div>
      </section>
    </AdminLayout>
  );
}
