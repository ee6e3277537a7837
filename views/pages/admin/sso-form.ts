/** The form of an identity provider: what was typed, read against the schema, and shown again. */
import * as v from "valibot";
import type { ProviderView } from "../../../src/accounts/sso/model.ts";
import { parseForm } from "../../../src/http/validation.ts";

/** A row of the table of groups, as typed. */
interface GroupForm {
  group: string;
  organization: string;
  /** A role in the team, or `installation`. */
  role: string;
}

/** A provider as typed. */
export interface SsoForm {
  type: "oidc" | "saml";
  name: string;
  issuer: string;
  client_id: string;
  scopes: string;
  groups_claim: string;
  metadata_url: string;
  metadata_xml: string;
  email_attribute: string;
  /** One a line. */
  domains: string;
  default_organization: string;
  enabled: boolean;
  enforced: boolean;
  second_factor: boolean;
  trust_email: boolean;
  idp_initiated: boolean;
  groups: GroupForm[];
}

const MAX_GROUPS = 200;
/** Empty rows below the groups that there are. */
const SPARE_ROWS = 2;
const SPARE: GroupForm = { group: "", organization: "", role: "member" };
const LABELS: Record<string, string> = {
  name: "The name",
  issuer: "The issuer",
  client_id: "The client ID",
  client_secret: "The client secret",
  scopes: "The scopes",
  groups_claim: "The name of the groups",
  metadata_url: "The address of the metadata",
  metadata_xml: "The metadata",
  email_attribute: "The attribute with the address",
  domains: "The list of domains",
  groups: "The list of groups",
};

export const Form = v.record(v.string(), v.pipe(v.string(), v.maxLength(600_000)));
export type Form = v.InferOutput<typeof Form>;

/** An empty form. */
export const emptyForm = (type: SsoForm["type"]): SsoForm => ({
  type,
  name: "",
  issuer: "",
  client_id: "",
  scopes: "openid email profile",
  groups_claim: "groups",
  metadata_url: "",
  metadata_xml: "",
  email_attribute: "",
  domains: "",
  default_organization: "",
  enabled: true,
  enforced: false,
  second_factor: false,
  // No assertion says that an address is verified.
  trust_email: type === "saml",
  idp_initiated: false,
  groups: [],
});

export function formOf(row: ProviderView): SsoForm {
  const own =
    row.type === "oidc"
      ? { issuer: row.issuer, client_id: row.client_id, scopes: row.scopes }
      : {
          metadata_url: row.metadata_url ?? "",
          metadata_xml: row.metadata_xml ?? "",
          email_attribute: row.email_attribute ?? "",
          idp_initiated: row.idp_initiated,
        };
  const { name, groups_claim, enabled, enforced, second_factor, trust_email } = row;
  return {
    ...emptyForm(row.type),
    name,
    groups_claim,
    enabled,
    enforced,
    second_factor,
    trust_email,
    ...own,
    domains: row.domains.join("\n"),
    default_organization: row.default_organization ?? "",
    groups: row.groups.map(({ group, organization, organization_role, role }) => ({
      group,
      organization,
      role: role === "admin" ? "installation" : organization_role,
    })),
  };
}

/** With empty rows for more groups. */
export const withSpareRows = (form: SsoForm): SsoForm => ({
  ...form,
  groups: [...form.groups, ...Array<GroupForm>(SPARE_ROWS).fill(SPARE)],
});

/** What was typed, with the rows of groups that have a name. */
export function typed(form: Form): SsoForm {
  const field = (name: string) => form[name] ?? "";
  const isOn = (name: string) => form[name] === "yes";
  const groups: GroupForm[] = [];
  for (let index = 0; index < MAX_GROUPS && form[`group_${index}`] !== undefined; index++) {
    const group = field(`group_${index}`).trim();
    const [organization, role] = [field(`organization_${index}`), field(`role_${index}`)];
    if (group) groups.push({ group, organization, role });
  }
  return {
    type: form.type === "saml" ? "saml" : "oidc",
    name: field("name"),
    issuer: field("issuer"),
    client_id: field("client_id"),
    scopes: field("scopes"),
    groups_claim: field("groups_claim"),
    metadata_url: field("metadata_url"),
    metadata_xml: field("metadata_xml"),
    email_attribute: field("email_attribute"),
    domains: field("domains"),
    default_organization: field("default_organization"),
    enabled: isOn("enabled"),
    enforced: isOn("enforced"),
    second_factor: isOn("second_factor"),
    trust_email: isOn("trust_email"),
    idp_initiated: isOn("idp_initiated"),
    groups,
  };
}

/** The fields that only the protocol has. */
function ownFields(form: Form, given: SsoForm) {
  if (given.type === "oidc") {
    const { issuer, client_id, scopes } = given;
    return { issuer, client_id, scopes, client_secret: form.client_secret || null };
  }
  return {
    metadata_url: given.metadata_url.trim() || null,
    metadata_xml: given.metadata_xml.trim() || null,
    email_attribute: given.email_attribute.trim() || null,
    idp_initiated: given.idp_initiated,
  };
}

/**
 * @param named the schema takes the type of a new provider
 * @throws AppError `invalid_value` with a sentence about the field
 */
export function read<S extends v.GenericSchema>(schema: S, form: Form, named: boolean): v.InferOutput<S> {
  const filled = typed(form);
  const { type, name, enabled, enforced, second_factor, trust_email, groups_claim } = filled;
  const given = {
    ...(named ? { type } : {}),
    name,
    enabled,
    enforced,
    second_factor,
    trust_email,
    groups_claim,
    ...ownFields(form, filled),
    groups: filled.groups.map(({ role, ...group }) => ({
      ...group,
      ...(role === "installation" ? { role: "admin", organization_role: "owner" } : { organization_role: role }),
    })),
    domains: filled.domains.split(/[\s,]+/).filter(Boolean),
    default_organization: filled.default_organization || null,
  };
  const words = given.domains.length > 0 ? { ...LABELS, domains: "Each domain" } : LABELS;
  return parseForm(schema, given, words);
}
