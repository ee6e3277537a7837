/** Teams of the installation: the list, and the page of one with its members, its share of the queue and its quotas. */

import { stateOf } from "../../../src/accounts/holds/model.ts";
import type { OrganizationRow, UserRow } from "../../../src/accounts/organizations/model.ts";
import type { LimitName, LimitsView } from "../../../src/accounts/quotas/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import type { TeamView } from "../../../src/training/queue/teams.ts";
import type { WandbView } from "../../../src/training/results/wandb-settings.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge, stateWord } from "../../parts/state.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { TeamSignIn } from "../../parts/team.tsx";
import { CopyId, KeyValue, Time } from "../../parts/value.tsx";
import { BurstFields } from "../queue/burst.tsx";
import type { ShareForm } from "../queue/form.ts";
import { LIMIT_LABELS, type LimitForm } from "../team/limits-form.ts";
import { AdminLayout } from "./frame.tsx";
import { OverduePanel, type OverdueProps } from "./more-time.tsx";
import { HoldNotice, HoldPanels, SuspensionPanel } from "./suspension.tsx";
import { rolesOf } from "./users.tsx";

export interface TeamProps {
  team: OrganizationRow;
  overdue: OverdueProps;
  members: UserRow[];
  share: TeamView;
  shareForm: ShareForm;
  limits: LimitsView;
  limitForm: LimitForm;
  wandb: WandbView;
  /** The address as typed. */
  wandbUrl: string;
  /** Days that members have to set up two-factor authentication. */
  graceDays: number;
  /** The settings require it of everybody. */
  requiredByAll: boolean;
  /** Messages by field. */
  problems: Record<string, string>;
  /** The administrator's own team. */
  own: boolean;
  error?: string;
}

export function TeamsPage({ teams, error }: { teams: Listed<OrganizationRow>; error?: string }) {
  return (
    <AdminLayout
      title="Teams"
      actions={
        <SheetForm id="team" action="/admin/teams" label="New team" icon="plus" title="New team" verb="Create team">
          <p class="muted small">
            A team has data, jobs, models, keys and quotas of its own. The API calls it an organization.
          </p>
          <TextField name="name" label="Name" required maxlength={200} />
        </SheetForm>
      }
    >
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <section class="panel" aria-label="Teams">
        <Table
          label="Teams"
          rows={teams.items}
          rowId={(row) => row.id}
          columns={[
            {
              key: "name",
              label: "Team",
              name: true,
              render: (row) => (
                <RowName
                  href={`/admin/teams/${encodeURIComponent(row.id)}`}
                  name={row.name}
                  sub={row.holds.length > 0 ? <span class="narrow">{stateWord(stateOf(row.holds))}</span> : null}
                />
              ),
            },
            { key: "members", label: "Members", end: true, render: (row) => formatInteger(row.members) },
            { key: "state", label: "State", wide: true, render: (row) => <StateBadge state={stateOf(row.holds)} /> },
            { key: "at", label: "Created", wide: true, render: (row) => <Time at={row.createdAt} /> },
          ]}
        />
        <Pager shown={teams.items.length} hasMore={teams.hasMore} last={teams.last} order="name" />
      </section>
      <p class="small muted">
        See <a href="/queue">Queue</a> for what each team uses now.
      </p>
    </AdminLayout>
  );
}

function Members({ members }: Pick<TeamProps, "members">) {
  return (
    <section class="panel">
      <header>
        <h2>Members</h2>
        <a class="button small" href="/admin/users">
          Invite or move users
        </a>
      </header>
      {members.length === 0 ? (
        <p class="body muted small">No members. Invite a user to this team, or move one here on the user's page.</p>
      ) : (
        <Table
          label="Members"
          rows={members}
          rowId={(row) => row.id}
          columns={[
            {
              key: "user",
              label: "User",
              name: true,
              render: (row) => <RowName href={`/admin/users/${row.id}`} name={row.name} sub={row.email} />,
            },
            { key: "role", label: "Role", render: (row) => rolesOf(row) },
            {
              key: "state",
              label: "State",
              wide: true,
              render: (row) => <StateBadge state={stateOf(row.holds)} />,
            },
          ]}
        />
      )}
    </section>
  );
}

function Share({ team, share, shareForm, problems }: TeamProps) {
  const number = { type: "text", inputmode: "decimal" } as const;
  return (
    <section class="panel">
      <header>
        <h2>Fair share, limits and burst policy</h2>
      </header>
      <PostForm action={`/admin/teams/${encodeURIComponent(team.id)}`} class="body form">
        <div class="fields">
          <TextField
            {...number}
            name="weight"
            label="Share weight"
            value={shareForm.weight}
            required
            error={problems.weight}
            hint="A team of weight 2 gets twice the share of a team of weight 1 while both have waiting work."
          />
          <TextField
            {...number}
            name="max_gpus"
            label="GPU limit"
            value={shareForm.max_gpus}
            placeholder="no limit"
            error={problems.max_gpus}
            hint={`${share.gpusNow} in use now. A lower limit does not stop running work.`}
          />
          <TextField
            {...number}
            name="gpu_hours_per_month"
            label="GPU-hours per month"
            value={shareForm.gpu_hours_per_month}
            placeholder="no limit"
            error={problems.gpu_hours_per_month}
            hint={`${Math.round(share.usedThisMonth * 10) / 10} used this month. Months begin in UTC.`}
          />
        </div>
        <BurstFields form={shareForm} problems={problems} inherits="Installation's default" />
        <label class="check">
          <input type="checkbox" name="burst_locked" value="yes" checked={shareForm.burst_locked === "yes"} />
          The team cannot change its burst policy
        </label>
        <div class="row">
          <button type="submit" class="button">
            Save share
          </button>
        </div>
      </PostForm>
    </section>
  );
}

function Quotas({ team, limits, limitForm, problems }: TeamProps) {
  const names = Object.keys(LIMIT_LABELS) as LimitName[];
  const shown = (name: LimitName, value: number) => (name === "bytes" ? formatBytes(value) : formatInteger(value));
  return (
    <section class="panel">
      <header>
        <h2>Quotas</h2>
      </header>
      <PostForm action={`/admin/teams/${encodeURIComponent(team.id)}/limits`} class="body form">
        <div class="fields">
          {names.map((name) => {
            const { used, limit } = limits[name];
            return (
              <Field
                id={`field-limit-${name}`}
                label={LIMIT_LABELS[name]}
                error={problems[name]}
                hint={`${shown(name, used)} used of ${limit === null ? "no limit" : shown(name, limit)}`}
                render={(ids) => (
                  <input
                    name={name}
                    inputmode="decimal"
                    value={limitForm[name]}
                    placeholder="as in Settings"
                    {...ids}
                  />
                )}
              />
            );
          })}
        </div>
        <p class="small muted">Empty: the quota of the settings. 0: no limit.</p>
        <div class="row">
          <button type="submit" class="button">
            Save quotas
          </button>
        </div>
      </PostForm>
    </section>
  );
}

function Wandb({ team, wandb, wandbUrl, problems }: TeamProps) {
  const path = `/admin/teams/${encodeURIComponent(team.id)}/wandb`;
  return (
    <section class="panel">
      <header>
        <h2>Weights &amp; Biases</h2>
        {wandb.has_key ? (
          <ConfirmForm
            id="wandb"
            action={`${path}/remove`}
            label="Remove"
            buttonClass="button small"
            title="Remove this server?"
            lost="Its key is deleted, and runs are not sent any more. What was sent stays there."
            verb="Remove the server"
          />
        ) : null}
      </header>
      <PostForm action={path} class="body form">
        <p class="small muted">
          {wandb.has_key
            ? `Jobs with the integration send their runs to ${wandb.wandb_url} while they train.`
            : "Jobs with the integration send their runs to this server while they train. Without one, a job that succeeded has its run as a file."}
        </p>
        <div class="fields">
          <TextField
            name="wandb_url"
            label="Server"
            type="url"
            value={wandbUrl}
            placeholder="https://wandb.example.com"
            required
            maxlength={500}
            error={problems.wandb_url}
          />
          <TextField
            name="wandb_key"
            label="API key"
            type="password"
            autocomplete="off"
            required
            maxlength={200}
            error={problems.wandb_key}
            hint="Stored encrypted and never shown again. The server is asked whether it knows the key."
          />
        </div>
        <div class="row">
          <button type="submit" class="button">
            Save server
          </button>
        </div>
      </PostForm>
    </section>
  );
}

export function TeamPage(props: TeamProps) {
  const { team, error } = props;
  const held = {
    path: `/admin/teams/${encodeURIComponent(team.id)}`,
    subject: "organization" as const,
    name: team.name,
    holds: team.holds,
  };
  return (
    <AdminLayout
      title={team.name}
      parent={{ label: "Teams", href: "/admin/teams" }}
      beside={<StateBadge state={stateOf(team.holds)} />}
      actions={
        <SheetForm
          id="rename"
          action={`/admin/teams/${encodeURIComponent(team.id)}/name`}
          label="Rename"
          buttonClass="button"
          title={`Rename ${team.name}`}
          verb="Rename"
        >
          <TextField name="name" label="Name" required maxlength={200} value={team.name} />
        </SheetForm>
      }
    >
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <HoldNotice holds={team.holds} />
      <OverduePanel {...props.overdue} />
      <Members {...props} />
      <TeamSignIn
        action={`/admin/teams/${encodeURIComponent(team.id)}/sign-in`}
        required={team.twoFactorSince !== null}
        graceDays={props.graceDays}
        requiredByAll={props.requiredByAll}
      />
      <Share {...props} />
      <Quotas {...props} />
      <Wandb {...props} />
      {props.own ? (
        team.holds.some(({ kind }) => kind === "unpaid") && <SuspensionPanel {...held} />
      ) : (
        <HoldPanels {...held} />
      )}
      <section class="panel">
        <div class="body">
          <KeyValue
            rows={[
              ["ID", <CopyId id={team.id} full />],
              ["Created", <Time at={team.createdAt} />],
            ]}
          />
        </div>
      </section>
    </AdminLayout>
  );
}
