/** The page of one user: role, team, password link, sessions, and suspension. */
import { stateOf } from "../../../src/accounts/holds/model.ts";
import type { OrganizationRow, UserRow } from "../../../src/accounts/organizations/model.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { INSTALLATION_ROLE_NAMES, ROLE_HINTS, ROLE_NAMES } from "../../../src/roles.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";
import { HoldNotice, HoldPanels } from "./suspension.tsx";
import { OneTimeLink, RoleSelect, TeamRoleSelect, TeamSelect } from "./users.tsx";

export interface UserProps {
  user: UserRow;
  teams: OrganizationRow[];
  /** The administrator looks at their own account. */
  self: boolean;
  /** A link that was just created, shown only once. */
  reset?: { link: string };
  error?: string;
}

function Facts({ user }: UserProps) {
  return (
    <section class="panel">
      <header>
        <h2>Account</h2>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ["E-mail", <CopyId id={user.email} full />],
            ["Installation", INSTALLATION_ROLE_NAMES[user.role]],
            ["Team", user.orgName ?? "–"],
            [
              "Role in the team",
              user.teamRole ? ROLE_NAMES[user.teamRole] : "–",
              user.teamRole ? ROLE_HINTS[user.teamRole] : "",
            ],
            ["Last seen", user.lastSeenAt ? <Time at={user.lastSeenAt} /> : "Never"],
            ["Open sessions", String(user.sessions)],
            ["Two-factor authentication", user.twoFactor ? "On" : "Off"],
            ["Created", <Time at={user.createdAt} />],
            ["ID", <CopyId id={user.id} />],
          ]}
        />
      </div>
      <footer>
        <a href={`/admin/audit?actor=${encodeURIComponent(user.email)}`}>Show what this user did</a>
      </footer>
    </section>
  );
}

function Access({ user, teams }: UserProps) {
  const action = `/admin/users/${user.id}`;
  return (
    <section class="panel">
      <header>
        <h2>Role and team</h2>
      </header>
      <div class="body stack">
        <PostForm action={action} class="inline-form">
          <RoleSelect id="user-role" value={user.role} />
          <button type="submit" class="button">
            Change role
          </button>
        </PostForm>
        {user.org && user.role === "member" ? (
          <PostForm action={action} class="inline-form">
            <TeamRoleSelect id="user-team-role" value={user.teamRole} />
            <button type="submit" class="button">
              Change role in the team
            </button>
          </PostForm>
        ) : null}
        {teams.length > 1 ? (
          <PostForm action={action} class="inline-form">
            <TeamSelect id="user-team" teams={teams} value={user.org} />
            <button type="submit" class="button">
              Move to team
            </button>
          </PostForm>
        ) : null}
        <p class="muted small">
          A change signs the user out. API keys belong to the team they were created in and stop working after a move.
        </p>
      </div>
    </section>
  );
}

function SignIn({ user, self }: UserProps) {
  const action = `/admin/users/${user.id}`;
  return (
    <section class="panel">
      <header>
        <h2>Sign-in</h2>
      </header>
      <div class="body stack">
        {user.disabled ? null : (
          <div class="row between">
            <span class="small">
              Forgot the password? Create a link that sets a new one. It works once, within a day.
            </span>
            <ActionButton action={`${action}/reset`}>Create reset link</ActionButton>
          </div>
        )}
        <div class="row between">
          <span class="small">
            {plural(user.sessions, "open session")}.{user.disabled ? "" : " API keys keep working."}
          </span>
          <ConfirmForm
            id="sessions"
            action={`${action}/sessions`}
            label="Sign out everywhere"
            title={`Sign ${user.email} out everywhere?`}
            lost={
              self
                ? "All your browser sessions end, this one too. Text that was not saved is lost."
                : "All browser sessions of this user end at once. Text that was not saved is lost."
            }
            verb="Sign out everywhere"
          />
        </div>
        {user.twoFactor ? (
          <div class="row between">
            <span class="small">Lost the authenticator app or the passkeys, and the recovery codes?</span>
            <ConfirmForm
              id="two-factor"
              action={`${action}/two-factor`}
              label="Reset second factor"
              title={`Reset the second factor of ${user.email}?`}
              lost="The app, all passkeys and the recovery codes are removed: the password alone is enough to sign in until they set up new ones. Their sessions end. Make sure that it is them who asks."
              verb="Reset the second factor"
            />
          </div>
        ) : null}
      </div>
    </section>
  );
}

export function UserPage(props: UserProps) {
  const { user, self, reset, error } = props;
  return (
    <AdminLayout
      title={user.name}
      parent={{ label: "Users", href: "/admin/users" }}
      beside={<StateBadge state={stateOf(user.holds)} />}
    >
      {reset ? (
        <OneTimeLink title={`Link to reset the password of ${user.email}`} link={reset.link}>
          Send this link yourself. It works once within a day and is not shown again. The current password stays valid
          until then.
        </OneTimeLink>
      ) : null}
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <HoldNotice holds={user.holds} />
      <div class="columns">
        <Facts {...props} />
        <div class="stack">
          <Access {...props} />
          <SignIn {...props} />
          {self ? null : (
            <HoldPanels path={`/admin/users/${user.id}`} subject="user" name={user.email} holds={user.holds} />
          )}
        </div>
      </div>
    </AdminLayout>
  );
}
