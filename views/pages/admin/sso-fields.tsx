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
  ["enabled", "Switched on", "The sign-in page has a button for it."],
  [
    "enforced",
    "Refuse passwords for addresses of these domains",
    "Switch it on after you have signed in with the provider once.",
  ],
  [
    "second_factor",
    "A sign-in there counts as a second factor",
    "For providers that ask for one. Nobody is asked for a code here then.",
  ],
  [
    "trust_email",
    "Addresses of these domains count as verified",
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
          label="People may begin at the provider"
          hint="For the tile on its own page. An answer that nobody asked for here is accepted then, so a link can sign somebody in as another person. Leave it off if you can."
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
        hint="On the button of the sign-in page"
      />
      <TextField
        name="issuer"
        label="Issuer"
        type="url"
        required
        maxlength={2000}
        value={form.issuer}
        placeholder="https://login.example.com"
        hint="/.well-known/openid-configuration is below it"
      />
      <TextField
        name="client_id"
        label="Client ID"
        required
        maxlength={500}
        value={form.client_id}
        hint="Of the application that you registered there"
      />
      <TextField
        name="client_secret"
        label="Client secret"
        type="password"
        autocomplete="off"
        maxlength={2000}
        hint={secretSet ? "Empty: as it is. It is stored encrypted." : "It is stored encrypted."}
      />
      <TextField
        name="scopes"
        label="Scopes"
        required
        maxlength={500}
        value={form.scopes}
        hint="What is asked for, separated by spaces"
      />
      <TextField
        name="groups_claim"
        label="Claim with the groups"
        required
        maxlength={200}
        value={form.groups_claim}
        hint="Dots lead into objects: realm_access.roles"
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
          hint="On the button of the sign-in page"
        />
        <TextField
          name="metadata_url"
          label="Address of the metadata"
          type="url"
          maxlength={2000}
          value={form.metadata_url}
          placeholder="https://login.example.com/metadata"
          hint="Read again every ten minutes, so that a new certificate counts by itself"
        />
        <TextField
          name="email_attribute"
          label="Attribute with the e-mail address"
          maxlength={300}
          value={form.email_attribute}
          hint="Empty: the usual names, such as email and mail, then the NameID"
        />
        <TextField
          name="groups_claim"
          label="Attribute with the groups"
          required
          maxlength={200}
          value={form.groups_claim}
          hint="Its full name, as the provider sends it"
        />
      </div>
      <Field
        id="field-metadata-xml"
        label="Or the metadata itself"
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
