/** Users and pending invitations of the installation, and what each role may do. */

import { stateOf } from "../../../src/accounts/holds/model.ts";
import type { Invitation, OrganizationRow, UserRow } from "../../../src/accounts/organizations/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { capitalize } from "../../../src/lib/text/format.ts";
import type { InvitationMail } from "../../../src/notices/security/invitation-mail.ts";
import {
  INSTALLATION_ROLE_NAMES,
  INSTALLATION_ROLES,
  type InstallationRole,
  ROLE_HINTS,
  ROLE_NAMES,
  TEAM_ROLES,
  type TeamRole,
} from "../../../src/roles.ts";
import { usePage } from "../../context.ts";
import { Field, Filters, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge, stateWord } from "../../parts/state.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { InvitationActions, MailState, SendInvitation } from "../../parts/team.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

export interface UsersProps {
  users: Listed<UserRow>;
  invitations: Invitation[];
  /** Invitations can be mailed, and what became of their mails by id of the invitation. */
  canMail: boolean;
  mails: Map<string, InvitationMail>;
  teams: OrganizationRow[];
  /** The team of the administrator, preselected for invitations. */
  org: string;
  /** A link that was just created, shown only once. */
  invited?: { email: string; link: string };
  error?: string;
  /** The address as typed, when the invitation was refused. */
  typed?: string;
}

/** The role of an account: in the installation for its administrators, in the team for others. */
export function rolesOf({ role, teamRole }: { role: InstallationRole; teamRole: TeamRole | null }): string {
  if (role !== "member") return INSTALLATION_ROLE_NAMES[role];
  return teamRole ? ROLE_NAMES[teamRole] : "–";
}

/** What administrators of the installation may do, in a sentence. */
const ADMIN_HINT =
  "Everything an owner does, in every team they join; manages users, teams, hosts, providers and every team's share of the queue.";

/** A link to pass on, with what it is for. */
export function OneTimeLink({ title, link, children }: { title: string; link: string; children: string }) {
  return (
    <Notice kind="ok" title={title} alert>
      <span>{children}</span>
      <CopyId id={link} full />
    </Notice>
  );
}

/** `team_role`: roles in a team, with what each may do. */
export function TeamRoleSelect(props: {
  id: string;
  value?: TeamRole | null;
  name?: string;
  roles?: readonly TeamRole[];
}) {
  const { id, value = "member", name = "team_role", roles = TEAM_ROLES } = props;
  return (
    <Field
      id={id}
      label="Role in the team"
      render={(ids) => (
        <select name={name} {...ids}>
          {roles.map((role) => (
            <option value={role} selected={role === value}>
              {ROLE_NAMES[role]}: {ROLE_HINTS[role]}
            </option>
          ))}
        </select>
      )}
    />
  );
}

/** `role`: whether an account administers the installation. */
export function RoleSelect({ id, value = "member" }: { id: string; value?: InstallationRole }) {
  return (
    <Field
      id={id}
      label="Installation"
      render={(ids) => (
        <select name="role" {...ids}>
          {INSTALLATION_ROLES.toReversed().map((role) => (
            <option value={role} selected={value === role}>
              {INSTALLATION_ROLE_NAMES[role]}
            </option>
          ))}
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

function InviteForm({ teams, org, error, typed, canMail }: UsersProps) {
  return (
    <SheetForm
      id="invite"
      action="/admin/invite"
      label="Invite user"
      icon="plus"
      title="Invite a user"
      verb={canMail ? "Invite" : "Create invitation link"}
      error={typed === undefined ? undefined : error}
    >
      <TextField name="email" label="E-mail" type="email" required maxlength={254} value={typed ?? ""} />
      <div class="fields">
        <TeamSelect id="invite-team" teams={teams} value={org} />
        <RoleSelect id="invite-role" />
      </div>
      <TeamRoleSelect id="invite-team-role" />
      <SendInvitation canMail={canMail} />
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
              render: (row) => (
                <RowName
                  href={`/admin/users/${row.id}`}
                  name={row.name}
                  sub={
                    <>
                      {row.holds.length > 0 ? <span class="narrow">{stateWord(stateOf(row.holds))} · </span> : null}
                      {row.email}
                    </>
                  }
                />
              ),
            },
            { key: "role", label: "Role", render: (row) => rolesOf(row) },
            { key: "team", label: "Team", wide: true, render: (row) => row.orgName ?? "–" },
            {
              key: "seen",
              label: "Last seen",
              wide: true,
              extra: true,
              render: (row) => (row.lastSeenAt ? <Time at={row.lastSeenAt} /> : <span class="muted">Never</span>),
            },
            {
              key: "state",
              label: "State",
              wide: true,
              render: (row) => <StateBadge state={stateOf(row.holds)} />,
            },
          ]}
        />
      )}
      <Pager shown={users.items.length} hasMore={users.hasMore} last={users.last} fragment="users" order="name" />
    </section>
  );
}

function Invitations(props: Pick<UsersProps, "invitations" | "teams" | "canMail" | "mails">) {
  const { invitations, teams, canMail, mails } = props;
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
                    {rolesOf(row)}, {teams.find((team) => team.id === row.org)?.name ?? row.org}
                  </span>
                  <MailState mail={mails.get(row.id)} />
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
              act: true,
              render: (row) => (
                <InvitationActions
                  path="/admin/invitations"
                  id={row.id}
                  email={row.email}
                  canMail={canMail}
                  mail={mails.get(row.id)}
                />
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
              ...TEAM_ROLES.map((role): [string, string] => [ROLE_NAMES[role], capitalize(ROLE_HINTS[role])]),
              ["Administrator of the installation", ADMIN_HINT],
            ]}
          />
        </div>
      </section>
    </AdminLayout>
  );
}
