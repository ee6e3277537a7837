/** Identity providers of single sign-on: the list, and the form of one with its domains, groups and a test. */
import type { OrganizationRow } from "../../../src/accounts/organizations/model.ts";
import type { ProviderTest, ProviderView } from "../../../src/accounts/sso/model.ts";
import { ROLE_NAMES } from "../../../src/roles.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

/** A row of the table of groups, as typed. */
export interface GroupForm {
  group: string;
  organization: string;
  /** A role in the team, or `installation`. */
  role: string;
}

/** A provider as typed. */
export interface SsoForm {
  name: string;
  issuer: string;
  client_id: string;
  scopes: string;
  groups_claim: string;
  /** One a line. */
  domains: string;
  default_organization: string;
  enabled: boolean;
  enforced: boolean;
  second_factor: boolean;
  trust_email: boolean;
  groups: GroupForm[];
}

export interface SsoProps {
  /** Null for a new one. */
  provider: ProviderView | null;
  form: SsoForm;
  teams: OrganizationRow[];
  /** The redirect address to register at the provider; null before there is one. */
  callback: string | null;
  tested?: ProviderTest;
  error?: string;
}

export function SsoListPage({ providers }: { providers: ProviderView[] }) {
  return (
    <AdminLayout
      title="Single sign-on"
      actions={
        <a class="button primary" href="/admin/sso/new" data-new>
          Add provider
        </a>
      }
    >
      <section class="panel" aria-label="Identity providers">
        {providers.length === 0 ? (
          <Empty icon="key" title="No identity provider yet">
            People sign in with a password. With a provider, such as Okta, Entra ID, Google or Keycloak, they use the
            account of your company.
          </Empty>
        ) : (
          <Table
            label="Identity providers"
            rows={providers}
            rowId={(row) => row.id}
            columns={[
              {
                key: "name",
                label: "Provider",
                name: true,
                render: (row) => <RowName href={`/admin/sso/${row.id}`} name={row.name} sub={row.issuer} />,
              },
              { key: "domains", label: "Domains", wide: true, render: (row) => row.domains.join(", ") },
              {
                key: "passwords",
                label: "Passwords",
                wide: true,
                render: (row) => (row.enforced ? "Refused" : "Allowed"),
              },
              {
                key: "state",
                label: "State",
                render: (row) => <StateBadge state={row.enabled ? "active" : "disabled"} />,
              },
            ]}
          />
        )}
      </section>
    </AdminLayout>
  );
}

function Team(props: { name: string; label: string; none: string; value: string; teams: OrganizationRow[] }) {
  return (
    <select name={props.name} aria-label={props.label}>
      <option value="">{props.none}</option>
      {props.teams.map((team) => (
        <option value={team.id} selected={team.id === props.value}>
          {team.name}
        </option>
      ))}
    </select>
  );
}

/** Roles in the team, and the one that administers the installation. */
const ROLES: [string, string][] = [
  ...(["member", "viewer", "billing", "admin", "owner"] as const).map((role): [string, string] => [
    role,
    ROLE_NAMES[role],
  ]),
  ["installation", "Administrator of this installation"],
];

function Groups({ form, teams }: Pick<SsoProps, "form" | "teams">) {
  return (
    <fieldset class="stack tight">
      <legend>Groups</legend>
      <p class="small muted">
        The first group in this list that a user has decides team and role, at every sign-in. Rows without a name are
        left out.
      </p>
      {form.groups.map((row, index) => (
        <div class="fields few">
          <input
            name={`group_${index}`}
            value={row.group}
            maxlength={300}
            placeholder="ML engineers"
            aria-label={`Group ${index + 1}`}
          />
          <Team
            name={`organization_${index}`}
            label={`Team of group ${index + 1}`}
            none="Choose a team"
            value={row.organization}
            teams={teams}
          />
          <select name={`role_${index}`} aria-label={`Role of group ${index + 1}`}>
            {ROLES.map(([value, label]) => (
              <option value={value} selected={value === row.role}>
                {label}
              </option>
            ))}
          </select>
        </div>
      ))}
    </fieldset>
  );
}

const SWITCHES = [
  ["enabled", "Switched on"],
  ["enforced", "Refuse passwords for addresses of these domains"],
  ["second_factor", "A sign-in there counts as a second factor"],
  ["trust_email", "Addresses of these domains count as verified (Entra ID does not send email_verified)"],
] as const;

function Test({ tested }: { tested: ProviderTest }) {
  return (
    <Notice
      kind={tested.reachable ? "ok" : "bad"}
      title={tested.reachable ? "The provider answers" : "The provider cannot be used"}
      alert
    >
      <span class="wrap-any">
        {tested.reachable ? `People sign in at ${tested.authorization_endpoint}.` : tested.problem}
      </span>
    </Notice>
  );
}

export function SsoPage(props: SsoProps) {
  const { provider, form, teams, callback, tested, error } = props;
  const path = provider ? `/admin/sso/${provider.id}` : "/admin/sso";
  return (
    <AdminLayout
      title={provider?.name ?? "Add an identity provider"}
      parent={{ label: "Single sign-on", href: "/admin/sso" }}
      actions={
        provider ? (
          <>
            <PostForm action={`${path}/test`}>
              <button type="submit" class="button">
                Test
              </button>
            </PostForm>
            <ConfirmForm
              id="sso"
              action={`${path}/remove`}
              label="Remove"
              buttonClass="button danger"
              title={`Remove ${provider.name}?`}
              lost="Nobody signs in with it any more. Its accounts stay; those without a password need a reset link."
              verb="Remove the provider"
            />
          </>
        ) : null
      }
    >
      {tested ? <Test tested={tested} /> : null}
      {callback ? (
        <section class="panel">
          <div class="body">
            <KeyValue rows={[["Redirect address", <CopyId id={callback} full />, "register it at the provider"]]} />
          </div>
        </section>
      ) : null}
      <section class="panel">
        <header>
          <h2>OpenID Connect</h2>
        </header>
        <PostForm class="body form" action={path}>
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <div class="fields few">
            <TextField name="name" label="Name" required maxlength={200} value={form.name} placeholder="Okta" />
            <TextField
              name="issuer"
              label="Issuer"
              type="url"
              required
              maxlength={2000}
              value={form.issuer}
              placeholder="https://login.example.com"
            />
            <TextField name="client_id" label="Client ID" required maxlength={500} value={form.client_id} />
            <TextField
              name="client_secret"
              label="Client secret"
              type="password"
              autocomplete="off"
              maxlength={2000}
              hint={
                provider?.client_secret_set ? "Empty: as it is. It is stored encrypted." : "It is stored encrypted."
              }
            />
            <TextField name="scopes" label="Scopes" required maxlength={500} value={form.scopes} />
            <TextField
              name="groups_claim"
              label="Claim with the groups"
              required
              maxlength={200}
              value={form.groups_claim}
              hint="Dots lead into objects: realm_access.roles"
            />
          </div>
          <Field
            id="field-domains"
            label="Domains"
            hint="One a line. Only addresses of these domains sign in here."
            render={(ids) => (
              <textarea name="domains" rows={3} required {...ids}>
                {form.domains}
              </textarea>
            )}
          />
          {SWITCHES.map(([name, label]) => (
            <label class="check">
              <input type="checkbox" name={name} value="yes" checked={form[name]} />
              <span>{label}</span>
            </label>
          ))}
          <Groups form={form} teams={teams} />
          <Field
            id="field-default"
            label="Users without such a group"
            render={() => (
              <Team
                name="default_organization"
                label="Users without such a group"
                none="Refuse them"
                value={form.default_organization}
                teams={teams}
              />
            )}
          />
          <div class="row">
            <button type="submit" class="button primary">
              Save
            </button>
          </div>
        </PostForm>
      </section>
    </AdminLayout>
  );
}
