/** Identity providers as administrators send and see them. Times of views are Unix seconds. */
import * as v from "valibot";
import { noHidden } from "../../lib/text/names.ts";
import { TEAM_ROLES } from "../../roles.ts";
import { Name } from "../auth/model.ts";

const line = (max: number) =>
  v.pipe(v.string(), v.trim(), noHidden, v.minLength(1, "must not be empty"), v.maxLength(max));
const id = v.pipe(v.string(), v.maxLength(100));
const Domain = v.pipe(
  v.string(),
  v.trim(),
  v.toLowerCase(),
  v.maxLength(253),
  v.regex(/^(?:[a-z0-9][a-z0-9-]{0,62}\.)+[a-z][a-z0-9-]{0,61}$/, "must be a domain such as example.com"),
);
const address = v.pipe(line(2000), v.url("must be an address such as https://login.example.com"));

/** What members of a group get here. */
const Group = v.strictObject({
  /** As the provider sends it: a name, a path or an id. */
  group: line(300),
  organization: id,
  /** Role in the organization. */
  organization_role: v.optional(v.picklist(TEAM_ROLES), "member"),
  /** `admin` administers the installation. */
  role: v.optional(v.picklist(["admin", "member"]), "member"),
});
type Group = v.InferOutput<typeof Group>;

const common = {
  /** On the button: `Continue with NAME`. */
  name: Name,
  enabled: v.boolean(),
  /** Domains of e-mail addresses that sign in here; each belongs to one provider. Other addresses are refused. */
  domains: v.pipe(v.array(Domain), v.minLength(1, "must name at least one domain"), v.maxLength(200)),
  /** Passwords of addresses of its domains are refused. */
  enforced: v.boolean(),
  /** A sign-in there counts as a second factor here. */
  second_factor: v.boolean(),
  /** Addresses of its domains count as verified although it does not send `email_verified`. */
  trust_email: v.boolean(),
  /** Organization of users without a mapped group; null = they are refused. */
  default_organization: v.nullable(id),
  /** The first group in this list that a user has decides organization and role, at every sign-in. */
  groups: v.pipe(v.array(Group), v.maxLength(200)),
  /** Claim or attribute with the groups; dots lead into objects. */
  groups_claim: line(200),
};
const oidc = {
  /** Address of the provider: `/.well-known/openid-configuration` is below it. */
  issuer: address,
  client_id: line(500),
  /** Absent or null keeps the stored one, as long as the issuer stays the same. */
  client_secret: v.nullable(v.pipe(v.string(), v.maxLength(2000))),
  scopes: v.pipe(line(500), v.regex(/(^| )openid( |$)/, "must contain openid")),
};

const saml = {
  /** Address of the provider's metadata, asked again every ten minutes. Null with `metadata_xml`. */
  metadata_url: v.nullable(address),
  /** The metadata itself. Null with `metadata_url`. */
  metadata_xml: v.nullable(v.pipe(v.string(), v.maxLength(500_000))),
  /** Attribute with the e-mail address; null = the usual names, then the NameID. */
  email_attribute: v.nullable(line(300)),
  /** Answers that nobody asked for here are accepted: people begin at the provider's own page. */
  idp_initiated: v.boolean(),
};

const CreateOidc = v.strictObject({
  type: v.optional(v.literal("oidc"), "oidc"),
  name: common.name,
  enabled: v.optional(common.enabled, true),
  domains: common.domains,
  enforced: v.optional(common.enforced, false),
  second_factor: v.optional(common.second_factor, false),
  trust_email: v.optional(common.trust_email, false),
  default_organization: v.optional(common.default_organization, null),
  groups: v.optional(common.groups, []),
  groups_claim: v.optional(common.groups_claim, "groups"),
  issuer: oidc.issuer,
  client_id: oidc.client_id,
  client_secret: v.optional(oidc.client_secret, null),
  scopes: v.optional(oidc.scopes, "openid email profile"),
});
export type CreateOidc = v.InferOutput<typeof CreateOidc>;

const CreateSaml = v.strictObject({
  type: v.literal("saml"),
  name: common.name,
  enabled: v.optional(common.enabled, true),
  domains: common.domains,
  enforced: v.optional(common.enforced, false),
  second_factor: v.optional(common.second_factor, false),
  /** No assertion says that an address is verified. */
  trust_email: v.optional(common.trust_email, true),
  default_organization: v.optional(common.default_organization, null),
  groups: v.optional(common.groups, []),
  groups_claim: v.optional(common.groups_claim, "groups"),
  metadata_url: v.optional(saml.metadata_url, null),
  metadata_xml: v.optional(saml.metadata_xml, null),
  email_attribute: v.optional(saml.email_attribute, null),
  idp_initiated: v.optional(saml.idp_initiated, false),
});
export type CreateSaml = v.InferOutput<typeof CreateSaml>;

/** A new provider. */
export const CreateProvider = v.variant("type", [CreateOidc, CreateSaml]);
export type CreateProvider = v.InferOutput<typeof CreateProvider>;

/** A change: absent fields stay. Fields of the other protocol are refused. */
export const ChangeProvider = v.partial(v.strictObject({ ...common, ...oidc, ...saml }));
export type ChangeProvider = v.InferOutput<typeof ChangeProvider>;

/** Fields that only one protocol has. */
export const OWN_FIELDS = { oidc: Object.keys(oidc), saml: Object.keys(saml) };

/** What is stored as JSON beside the columns. */
export interface OidcSettings {
  issuer: string;
  clientId: string;
  scopes: string;
  groupsClaim: string;
}
export interface SamlSettings {
  metadataUrl: string | null;
  metadataXml: string | null;
  emailAttribute: string | null;
  idpInitiated: boolean;
  groupsClaim: string;
  /** Certificate of this server's key, as PEM; the sealed secret of the provider is the key. */
  certificate: string;
}

interface AnyProvider {
  id: string;
  name: string;
  enabled: boolean;
  enforced: boolean;
  secondFactor: boolean;
  trustEmail: boolean;
  defaultOrg: string | null;
  secret: string | null;
  domains: string[];
  groups: Group[];
  createdAt: number;
  updatedAt: number;
}
export interface OidcProvider extends AnyProvider {
  type: "oidc";
  settings: OidcSettings;
}
export interface SamlProvider extends AnyProvider {
  type: "saml";
  settings: SamlSettings;
}
/** A provider with everything that signing in needs. */
export type Provider = OidcProvider | SamlProvider;

const viewed = {
  object: v.literal("sso_provider"),
  id: v.string(),
  name: v.string(),
  enabled: v.boolean(),
  domains: v.array(v.string()),
  enforced: v.boolean(),
  second_factor: v.boolean(),
  trust_email: v.boolean(),
  default_organization: v.nullable(v.string()),
  groups: v.array(
    v.strictObject({
      group: v.string(),
      organization: v.string(),
      organization_role: v.picklist(TEAM_ROLES),
      role: v.picklist(["admin", "member"]),
    }),
  ),
  groups_claim: v.string(),
  /** Path to register at the provider: the redirect address, or the assertion consumer service. */
  callback_path: v.string(),
  created_at: v.number(),
};

/** A provider without its secret. */
export const ProviderView = v.variant("type", [
  v.strictObject({
    ...viewed,
    type: v.literal("oidc"),
    issuer: v.string(),
    client_id: v.string(),
    client_secret_set: v.boolean(),
    scopes: v.string(),
  }),
  v.strictObject({
    ...viewed,
    type: v.literal("saml"),
    metadata_url: v.nullable(v.string()),
    metadata_xml: v.nullable(v.string()),
    email_attribute: v.nullable(v.string()),
    idp_initiated: v.boolean(),
    /** Path of this server's own metadata. Its address is the entity id, too. */
    metadata_path: v.string(),
  }),
]);
export type ProviderView = v.InferOutput<typeof ProviderView>;

/** Whether the provider answers, and what it offers. What its protocol does not have is null or empty. */
export const ProviderTest = v.strictObject({
  object: v.literal("sso_provider_test"),
  reachable: v.boolean(),
  /** Why it is not reachable, in words. */
  problem: v.nullable(v.string()),
  /** Where people sign in. */
  authorization_endpoint: v.nullable(v.string()),
  token_endpoint: v.nullable(v.string()),
  end_session_endpoint: v.nullable(v.string()),
  entity_id: v.nullable(v.string()),
  /** Certificates whose signatures are accepted. */
  certificates: v.array(v.strictObject({ sha256: v.string(), expires_at: v.number() })),
});
export type ProviderTest = v.InferOutput<typeof ProviderTest>;

/** A test that failed, or one without what its protocol does not have. */
export const NOT_TESTED = {
  object: "sso_provider_test" as const,
  reachable: false,
  problem: null,
  authorization_endpoint: null,
  token_endpoint: null,
  end_session_endpoint: null,
  entity_id: null,
  certificates: [],
} satisfies ProviderTest;

export function providerView(row: Provider): ProviderView {
  const shown = {
    object: "sso_provider" as const,
    id: row.id,
    name: row.name,
    enabled: row.enabled,
    domains: row.domains,
    enforced: row.enforced,
    second_factor: row.secondFactor,
    trust_email: row.trustEmail,
    default_organization: row.defaultOrg,
    groups: row.groups,
    groups_claim: row.settings.groupsClaim,
    created_at: Math.floor(row.createdAt / 1000),
  };
  if (row.type === "oidc")
    return {
      ...shown,
      type: row.type,
      issuer: row.settings.issuer,
      client_id: row.settings.clientId,
      client_secret_set: row.secret !== null,
      scopes: row.settings.scopes,
      callback_path: `/sso/${row.id}/callback`,
    };
  return {
    ...shown,
    type: row.type,
    metadata_url: row.settings.metadataUrl,
    metadata_xml: row.settings.metadataXml,
    email_attribute: row.settings.emailAttribute,
    idp_initiated: row.settings.idpInitiated,
    callback_path: `/sso/${row.id}/acs`,
    metadata_path: `/sso/${row.id}/metadata`,
  };
}
