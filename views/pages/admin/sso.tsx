/** Identity providers of single sign-on: the list, and the form of one with a test. */
import type { ComponentProps } from "preact";
import type { OrganizationRow } from "../../../src/accounts/organizations/model.ts";
import type { ProviderTest, ProviderView } from "../../../src/accounts/sso/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, Tabs } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { RowName, Table } from "../../parts/table.tsx";
import { CopyId, KeyValue } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";
import { Groups, OidcFields, SamlFields, Switches, Team } from "./sso-fields.tsx";
import type { SsoForm } from "./sso-form.ts";
import { ScimPanel, type ScimProps } from "./sso-scim.tsx";

const PROTOCOLS = { oidc: "OpenID Connect", saml: "SAML 2.0" } as const;

export interface SsoProps {
  /** Null for a new one. */
  provider: ProviderView | null;
  form: SsoForm;
  teams: OrganizationRow[];
  /** Address of this server as browsers use it. */
  base: string;
  /** Null for a new provider. */
  scim: ScimProps | null;
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
                render: (row) => <RowName href={`/admin/sso/${row.id}`} name={row.name} sub={PROTOCOLS[row.type]} />,
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

function Test({ tested }: { tested: ProviderTest }) {
  const { certificates } = tested;
  return (
    <Notice
      kind={tested.reachable ? "ok" : "bad"}
      title={tested.reachable ? "The provider answers" : "The provider cannot be used"}
      alert
    >
      <span class="wrap-any">
        {tested.reachable ? `People sign in at ${tested.authorization_endpoint}.` : tested.problem}
        {tested.entity_id ? ` Its entity ID is ${tested.entity_id}.` : null}
        {certificates.map(({ sha256, expires_at }) => (
          <>
            {" "}
            Certificate {sha256.slice(0, 23)}…, valid until {new Date(expires_at * 1000).toISOString().slice(0, 10)}.
          </>
        ))}
      </span>
    </Notice>
  );
}

/** What an administrator enters at the provider. */
function Addresses({ provider, base }: { provider: ProviderView; base: string }) {
  const callback = base + provider.callback_path;
  const rows: ComponentProps<typeof KeyValue>["rows"] =
    provider.type === "oidc"
      ? [["Redirect address", <CopyId id={callback} full />, "register it at the provider"]]
      : [
          ["Assertion consumer service", <CopyId id={callback} full />, "also named ACS, reply or single sign-on URL"],
          [
            "Entity ID and metadata",
            <CopyId id={base + provider.metadata_path} full />,
            "also named audience or identifier; the address has everything a provider can import",
          ],
        ];
  return (
    <section class="panel">
      <div class="body">
        <KeyValue rows={rows} />
      </div>
    </section>
  );
}

export function SsoPage(props: SsoProps) {
  const { provider, form, teams, base, scim, tested, error } = props;
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
      {provider ? <Addresses provider={provider} base={base} /> : null}
      {provider ? null : (
        <Tabs
          label="Protocol"
          name="type"
          tabs={[
            { key: "oidc", label: PROTOCOLS.oidc },
            { key: "saml", label: PROTOCOLS.saml },
          ]}
        />
      )}
      <section class="panel">
        <header>
          <h2>{PROTOCOLS[form.type]}</h2>
        </header>
        <PostForm class="body form" action={provider || form.type === "oidc" ? path : `${path}?type=saml`}>
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <input type="hidden" name="type" value={form.type} />
          {form.type === "saml" ? (
            <SamlFields form={form} />
          ) : (
            <OidcFields form={form} secretSet={provider?.type === "oidc" && provider.client_secret_set} />
          )}
          <Field
            id="field-domains"
            label="Domains"
            hint="One per line, such as example.com. Only addresses of these domains can sign in with this provider."
            render={(ids) => (
              <textarea name="domains" rows={3} required {...ids}>
                {form.domains}
              </textarea>
            )}
          />
          <Switches form={form} />
          <Groups form={form} teams={teams} />
          <Field
            id="field-default"
            label="Users without such a group"
            hint="The team of new users who are in none of the groups above"
            render={() => (
              <Team
                name="default_organization"
                label="Users without such a group"
                none="Refuse sign-in"
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
      {provider && scim ? <ScimPanel {...scim} path={path} name={provider.name} base={base} /> : null}
    </AdminLayout>
  );
}
