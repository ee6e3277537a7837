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

/** A new provider. */
export const CreateProvider = v.strictObject({
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
export type CreateProvider = v.InferOutput<typeof CreateProvider>;

/** A change: absent fields stay. */
export const ChangeProvider = v.partial(v.strictObject({ ...common, ...oidc }));
export type ChangeProvider = v.InferOutput<typeof ChangeProvider>;

/** What is stored as JSON beside the columns. */
export interface OidcSettings {
  issuer: string;
  clientId: string;
  scopes: string;
  groupsClaim: string;
}

/** A provider with everything that signing in needs. */
export interface Provider {
  id: string;
  type: "oidc" | "saml";
  name: string;
  enabled: boolean;
  enforced: boolean;
  secondFactor: boolean;
  trustEmail: boolean;
  defaultOrg: string | null;
  settings: OidcSettings;
  secret: string | null;
  domains: string[];
  groups: Group[];
  createdAt: number;
  updatedAt: number;
}

/** A provider without its secret. */
export const ProviderView = v.strictObject({
  object: v.literal("sso_provider"),
  id: v.string(),
  type: v.literal("oidc"),
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
  issuer: v.string(),
  client_id: v.string(),
  client_secret_set: v.boolean(),
  scopes: v.string(),
  /** Path of the redirect address to register at the provider. */
  callback_path: v.string(),
  created_at: v.number(),
});
export type ProviderView = v.InferOutput<typeof ProviderView>;

/** Whether the provider answers, and what it offers. */
export const ProviderTest = v.strictObject({
  object: v.literal("sso_provider_test"),
  reachable: v.boolean(),
  /** Why it is not reachable, in words. */
  problem: v.nullable(v.string()),
  authorization_endpoint: v.nullable(v.string()),
  token_endpoint: v.nullable(v.string()),
  end_session_endpoint: v.nullable(v.string()),
});
export type ProviderTest = v.InferOutput<typeof ProviderTest>;

export function providerView(row: Provider): ProviderView {
  return {
    object: "sso_provider",
    id: row.id,
    type: "oidc",
    name: row.name,
    enabled: row.enabled,
    domains: row.domains,
    enforced: row.enforced,
    second_factor: row.secondFactor,
    trust_email: row.trustEmail,
    default_organization: row.defaultOrg,
    groups: row.groups,
    groups_claim: row.settings.groupsClaim,
    issuer: row.settings.issuer,
    client_id: row.settings.clientId,
    client_secret_set: row.secret !== null,
    scopes: row.settings.scopes,
    callback_path: `/sso/${row.id}/callback`,
    created_at: Math.floor(row.createdAt / 1000),
  };
}
