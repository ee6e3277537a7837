/** The fields of an identity provider: those of its protocol, its domains, switches, and groups. */
import type { OrganizationRow } from "../../../src/accounts/organizations/model.ts";
import { ROLE_NAMES } from "../../../src/roles.ts";
import { Field, TextField } from "../../parts/form.tsx";
import type { SsoForm } from "./sso-form.ts";

export function Team(props: { name: string; label: string; none: string; value: string; teams: OrganizationRow[] }) {
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

export function Groups({ form, teams }: { form: SsoForm; teams: OrganizationRow[] }) {
  return (
    <fieldset class="stack tight">
      <legend>Groups</legend>
      <p class="small muted">
        At every sign-in the first group of this list that a user is in decides their team and role. Rows without a name
        are ignored.
      </p>
      {form.groups.map((row, index) => (
        <div class="fields three">
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
  ["enabled", "Enabled", "The sign-in page has a button for it."],
  [
    "enforced",
    "Require single sign-on for these domains",
    "Passwords are refused for addresses of these domains. Sign in with the provider once before you require it.",
  ],
  [
    "second_factor",
    "Signing in with the provider counts as two-factor authentication",
    "For providers that ask for a second factor. Users are then not asked for a code here.",
  ],
  [
    "trust_email",
    "Trust e-mail addresses of these domains",
    "Needed with Entra ID and with SAML, which do not say whether an address is verified.",
  ],
] as const;

function Check(props: { name: string; label: string; hint: string; checked: boolean }) {
  return (
    <div class="field">
      <label class="check">
        <input
          type="checkbox"
          name={props.name}
          value="yes"
          checked={props.checked}
          aria-describedby={`${props.name}-hint`}
        />
        <span>{props.label}</span>
      </label>
      <div class="hint" id={`${props.name}-hint`}>
        {props.hint}
      </div>
    </div>
  );
}

export function Switches({ form }: { form: SsoForm }) {
  return (
    <>
      {SWITCHES.map(([name, label, hint]) => (
        <Check name={name} label={label} hint={hint} checked={form[name]} />
      ))}
      {form.type === "saml" ? (
        <Check
          name="idp_initiated"
          label="Allow sign-in that starts at the provider (IdP-initiated)"
          hint="For the tile on the provider's own page. Responses that were not requested here are then accepted, so a link can sign somebody in as another person. Leave it off if you can."
          checked={form.idp_initiated}
        />
      ) : null}
    </>
  );
}

export function OidcFields({ form, secretSet }: { form: SsoForm; secretSet: boolean }) {
  return (
    <div class="fields few">
      <TextField
        name="name"
        label="Name"
        required
        maxlength={200}
        value={form.name}
        placeholder="Okta"
        hint="Shown on the button of the sign-in page"
      />
      <TextField
        name="issuer"
        label="Issuer"
        type="url"
        required
        maxlength={2000}
        value={form.issuer}
        placeholder="https://login.example.com"
        hint="The URL to which /.well-known/openid-configuration is added"
      />
      <TextField
        name="client_id"
        label="Client ID"
        required
        maxlength={500}
        value={form.client_id}
        hint="From the application that you registered at the provider"
      />
      <TextField
        name="client_secret"
        label="Client secret"
        type="password"
        autocomplete="off"
        maxlength={2000}
        hint={secretSet ? "Empty: as it is. It is stored encrypted." : "It is stored encrypted."}
      />
      <TextField name="scopes" label="Scopes" required maxlength={500} value={form.scopes} hint="Separated by spaces" />
      <TextField
        name="groups_claim"
        label="Groups claim"
        required
        maxlength={200}
        value={form.groups_claim}
        hint="Dots name a nested claim: realm_access.roles"
      />
    </div>
  );
}

export function SamlFields({ form }: { form: SsoForm }) {
  return (
    <>
      <div class="fields few">
        <TextField
          name="name"
          label="Name"
          required
          maxlength={200}
          value={form.name}
          placeholder="Okta"
          hint="Shown on the button of the sign-in page"
        />
        <TextField
          name="metadata_url"
          label="Metadata URL"
          type="url"
          maxlength={2000}
          value={form.metadata_url}
          placeholder="https://login.example.com/metadata"
          hint="Read every ten minutes, so that a new certificate is used automatically"
        />
        <TextField
          name="email_attribute"
          label="E-mail attribute"
          maxlength={300}
          value={form.email_attribute}
          hint="Empty: the usual names, such as email and mail, then the NameID"
        />
        <TextField
          name="groups_claim"
          label="Groups attribute"
          required
          maxlength={200}
          value={form.groups_claim}
          hint="Its full name, as the provider sends it"
        />
      </div>
      <Field
        id="field-metadata-xml"
        label="Or metadata as XML"
        hint="The XML file of the provider, when this server cannot reach the address. Paste it again when the provider replaces its certificate."
        render={(ids) => (
          <textarea name="metadata_xml" rows={4} spellcheck={false} placeholder="<EntityDescriptor …>" {...ids}>
            {form.metadata_xml}
          </textarea>
        )}
      />
    </>
  );
}
