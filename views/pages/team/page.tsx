/** `/team`: the members of the viewer's own team; its owners and administrators manage it here. */

import { stateOf } from "../../../src/accounts/holds/model.ts";
import type { Invitation, OrganizationRow, UserRow } from "../../../src/accounts/organizations/model.ts";
import type { LimitName, TeamLimitsView } from "../../../src/accounts/quotas/model.ts";
import type { ServiceAccountRow } from "../../../src/accounts/service-accounts/model.ts";
import type { Policy } from "../../../src/data/privacy/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { capitalize, formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import type { InvitationMail } from "../../../src/notices/security/invitation-mail.ts";
import { ROLE_HINTS, ROLE_NAMES, TEAM_ROLES, type TeamRole } from "../../../src/roles.ts";
import type { TeamBurst } from "../../../src/training/queue/model.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Allowed, PostForm, RoleLink } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, Filters, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge, stateWord } from "../../parts/state.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { InvitationActions, MailState, SendInvitation, TeamSignIn } from "../../parts/team.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { OneTimeLink, rolesOf, TeamRoleSelect } from "../admin/users.tsx";
import type { BurstForm } from "../queue/form.ts";
import { TeamBurstPanel } from "./burst.tsx";
import { LIMIT_LABELS, type LimitForm } from "./limits-form.ts";
import { TeamPrivacy } from "./privacy.tsx";
import { ServiceAccounts } from "./service-accounts.tsx";

export interface TeamProps {
  team: OrganizationRow;
  /** The viewer's id. */
  self: string;
  members: Listed<UserRow>;
  /** Null for a viewer who does not manage members. */
  manage: {
    invitations: Invitation[];
    /** Invitations can be mailed, and what became of their mails by id of the invitation. */
    canMail: boolean;
    mails: Map<string, InvitationMail>;
    services: ServiceAccountRow[];
    limits: TeamLimitsView;
    limitForm: LimitForm;
    /** Roles that the viewer may give. */
    roles: readonly TeamRole[];
    graceDays: number;
    requiredByAll: boolean;
    privacy: Policy;
    burst: TeamBurst;
    burstForm: BurstForm;
  } | null;
  /** A link that was just created, shown only once. */
  invited?: { email: string; link: string };
  /** Messages by field of the limits and of the burst policy. */
  problems: Record<string, string>;
  error?: string;
  /** The name as typed, when a service account was refused. */
  typedService?: string;
  /** The address as typed, when the invitation was refused. */
  typed?: string;
}

type Manage = NonNullable<TeamProps["manage"]>;

function MemberActions({ row, self, manage }: { row: UserRow; self: string; manage: Manage }) {
  const role = row.teamRole ?? "viewer";
  // Nobody but an administrator of the installation changes one, and only owners change owners.
  if (row.id === self || row.role === "admin" || !manage.roles.includes(role)) return null;
  const path = `/team/members/${encodeURIComponent(row.id)}`;
  return (
    <div class="row end">
      <SheetForm
        id={`role-${row.id}`}
        action={path}
        label="Change role"
        buttonClass="button small"
        title={`Role of ${row.email}`}
        verb="Change role"
      >
        <TeamRoleSelect id={`role-of-${row.id}`} name="role" value={role} roles={manage.roles} />
        <p class="muted small">The change signs them out.</p>
      </SheetForm>
      <ConfirmForm
        id={`remove-${row.id}`}
        action={`${path}/remove`}
        label="Remove"
        buttonClass="button danger small"
        title={`Remove ${row.email} from the team?`}
        lost="Their API keys are revoked and their sessions end. What they own becomes yours."
        verb="Remove from the team"
      />
    </div>
  );
}

export function MemberList({ members, self, manage }: TeamProps) {
  const actions = manage
    ? [
        {
          key: "act",
          label: "Actions",
          hideLabel: true,
          act: true,
          render: (row: UserRow) => <MemberActions row={row} self={self} manage={manage} />,
        },
      ]
    : [];
  return (
    <section id="members" class="panel" aria-label="Members">
      {members.items.length === 0 ? (
        <Empty slim icon="search" title="No matches">
          Try another part of the name or the address.
        </Empty>
      ) : (
        <Table
          still
          label="Members"
          rows={members.items}
          rowId={(row) => row.id}
          columns={[
            {
              key: "user",
              label: "Member",
              name: true,
              render: (row) => (
                <>
                  <strong dir="auto">{row.name}</strong>
                  <span class="sub">
                    {row.holds.length > 0 ? <span class="narrow">{stateWord(stateOf(row.holds))} · </span> : null}
                    {row.email}
                  </span>
                </>
              ),
            },
            { key: "role", label: "Role", render: rolesOf },
            {
              key: "seen",
              label: "Last seen",
              wide: true,
              extra: true,
              render: (row) => (row.lastSeenAt ? <Time at={row.lastSeenAt} /> : <span class="muted">Never</span>),
            },
            {
              key: "factor",
              label: "Two-factor",
              wide: true,
              extra: true,
              render: (row) => (row.twoFactor ? "On" : <span class="muted">Off</span>),
            },
            {
              key: "state",
              label: "State",
              wide: true,
              render: (row) => <StateBadge state={stateOf(row.holds)} />,
            },
            ...actions,
          ]}
        />
      )}
      <Pager
        shown={members.items.length}
        hasMore={members.hasMore}
        last={members.last}
        fragment="members"
        order="name"
      />
    </section>
  );
}

function Invitations({ invitations, canMail, mails }: Manage) {
  const { now } = usePage();
  if (invitations.length === 0) return null;
  return (
    <section class="panel">
      <header>
        <h2>Pending invitations</h2>
      </header>
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
                <span class="sub">{rolesOf(row)}</span>
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
                path="/team/invitations"
                id={row.id}
                email={row.email}
                canMail={canMail}
                mail={mails.get(row.id)}
              />
            ),
          },
        ]}
      />
    </section>
  );
}

function Limits({ limits, limitForm, problems }: Manage & Pick<TeamProps, "problems">) {
  const shown = (name: LimitName, value: number) => (name === "bytes" ? formatBytes(value) : formatInteger(value));
  return (
    <section class="panel" id="limits">
      <header>
        <h2>Limits</h2>
      </header>
      <PostForm action="/team/limits" class="body form">
        <div class="fields">
          {(Object.keys(LIMIT_LABELS) as LimitName[]).map((name) => {
            const { used, installation } = limits[name];
            const ceiling = installation === null ? "no limit" : shown(name, installation);
            return (
              <Field
                id={`field-limit-${name}`}
                label={LIMIT_LABELS[name]}
                error={problems[name]}
                hint={`${shown(name, used)} used; the installation allows ${ceiling}`}
                render={(ids) => (
                  <input name={name} inputmode="decimal" value={limitForm[name]} placeholder="no own limit" {...ids} />
                )}
              />
            );
          })}
        </div>
        <p class="small muted">
          Empty: the limit of the installation. Only its administrator can raise that. See <a href="/usage">Usage</a>.
        </p>
        <div class="row">
          <button type="submit" class="button">
            Save limits
          </button>
        </div>
      </PostForm>
    </section>
  );
}

function Roles({ team }: Pick<TeamProps, "team">) {
  return (
    <section class="panel">
      <header>
        <h2>Roles</h2>
        <ConfirmForm
          id="leave"
          action="/team/leave"
          label="Leave the team"
          buttonClass="button danger small"
          title={`Leave ${team.name}?`}
          lost="Your API keys are revoked and you are signed out. What you own goes to an owner. You can come back with an invitation."
          verb="Leave the team"
        />
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ...TEAM_ROLES.map((role): [string, string] => [ROLE_NAMES[role], capitalize(ROLE_HINTS[role])]),
            ["Team ID", <CopyId id={team.id} full />],
          ]}
        />
      </div>
    </section>
  );
}

export function TeamPage(props: TeamProps) {
  const { team, manage, invited, error, typed } = props;
  return (
    <Layout
      title={team.name}
      actions={
        manage ? (
          <>
            <RoleLink class="button" href="/team/data">
              Export
            </RoleLink>
            <RoleLink class="button" href="/team/audit">
              Audit log
            </RoleLink>
            <SheetForm
              id="rename"
              action="/team/name"
              label="Rename"
              buttonClass="button"
              title={`Rename ${team.name}`}
              verb="Rename"
            >
              <TextField name="name" label="Name" required maxlength={200} value={team.name} />
            </SheetForm>
            <SheetForm
              id="invite"
              action="/team/members"
              label="Invite member"
              icon="plus"
              title="Invite a member"
              verb={manage.canMail ? "Invite" : "Create invitation link"}
              error={typed === undefined ? undefined : error}
            >
              <TextField name="email" label="E-mail" type="email" required maxlength={254} value={typed ?? ""} />
              <TeamRoleSelect id="invite-role" name="role" roles={manage.roles} />
              <SendInvitation canMail={manage.canMail} />
            </SheetForm>
          </>
        ) : null
      }
    >
      <div class="stack">
        {invited ? (
          <OneTimeLink title={`Invitation for ${invited.email}`} link={invited.link}>
            Send this link yourself. It works once, for this address only, and is not shown again.
          </OneTimeLink>
        ) : null}
        {error ? (
          <div class={(typed ?? props.typedService) === undefined ? undefined : "only-without-script"}>
            <Notice kind="bad" alert>
              {error}
            </Notice>
          </div>
        ) : null}
        <Filters fragment="members" search={{ placeholder: "Search members" }} />
        <MemberList {...props} />
        {manage ? (
          <Allowed path="/team/limits">
            <Invitations {...manage} />
            <ServiceAccounts rows={manage.services} error={error} typed={props.typedService} />
            <TeamSignIn
              action="/team/sign-in"
              required={team.twoFactorSince !== null}
              graceDays={manage.graceDays}
              requiredByAll={manage.requiredByAll}
            />
            <TeamPrivacy {...manage.privacy} />
            <TeamBurstPanel {...manage} problems={props.problems} />
            <Limits {...manage} problems={props.problems} />
          </Allowed>
        ) : null}
        <Roles team={team} />
        <p class="small">
          <RoleLink href="/team/delete">Delete team…</RoleLink>
        </p>
      </div>
    </Layout>
  );
}
