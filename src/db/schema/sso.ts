/** Single sign-on and provisioning (SCIM): identity providers, their domains and groups, and whom they manage. */
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { organization, user } from "./auth.ts";

/** An identity provider that an administrator configured. */
export const ssoProvider = sqliteTable("sso_provider", {
  id: text("id").primaryKey(),
  type: text("type", { enum: ["oidc", "saml"] }).notNull(),
  name: text("name").notNull(),
  enabled: integer("enabled", { mode: "boolean" }).notNull().default(true),
  /** Addresses of its domains cannot sign in with a password. */
  enforced: integer("enforced", { mode: "boolean" }).notNull().default(false),
  /** A sign-in there counts as a second factor. */
  secondFactor: integer("second_factor", { mode: "boolean" }).notNull().default(false),
  /** Addresses of its domains count as verified although the provider does not say so. */
  trustEmail: integer("trust_email", { mode: "boolean" }).notNull().default(false),
  /** Organization of users without a mapped group; null = they are refused. */
  defaultOrg: text("default_org").references(() => organization.id, { onDelete: "set null" }),
  /** What its protocol needs, as JSON. */
  settings: text("settings").notNull(),
  /** The client secret, sealed; null without one. */
  secret: text("secret"),
  createdAt: integer("created_at").notNull(),
  updatedAt: integer("updated_at").notNull(),
});

/** Each domain belongs to one provider. */
export const ssoDomain = sqliteTable(
  "sso_domain",
  {
    domain: text("domain").primaryKey(),
    provider: text("provider")
      .notNull()
      .references(() => ssoProvider.id, { onDelete: "cascade" }),
  },
  (t) => [index("sso_domain_provider").on(t.provider)],
);

/** What a group of a provider means here. The lowest `position` that a user has counts. */
export const ssoGroup = sqliteTable(
  "sso_group",
  {
    provider: text("provider")
      .notNull()
      .references(() => ssoProvider.id, { onDelete: "cascade" }),
    position: integer("position").notNull(),
    name: text("name").notNull(),
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    /** Role in the organization. */
    teamRole: text("team_role").notNull(),
    /** `admin` administers the installation. */
    role: text("role", { enum: ["admin", "member"] }).notNull(),
  },
  (t) => [primaryKey({ columns: [t.provider, t.position] })],
);

/** What counts once: assertions that were used, and requests that were answered. */
export const ssoUsed = sqliteTable(
  "sso_used",
  {
    /** SHA-256 of provider and id. */
    id: text("id").primaryKey(),
    /** When it is no longer valid anyway, in milliseconds since 1970; the row is deleted then. */
    until: integer("until").notNull(),
  },
  (t) => [index("sso_used_until").on(t.until)],
);

const providerOf = () =>
  text("provider")
    .notNull()
    .references(() => ssoProvider.id, { onDelete: "cascade" });

/** A provider that may provision. */
export const scimConnection = sqliteTable("scim_connection", {
  provider: providerOf().primaryKey(),
  /** SHA-256 of the token. */
  tokenHash: text("token_hash").notNull().unique(),
  /** Its last characters. */
  tokenHint: text("token_hint").notNull(),
  createdBy: text("created_by").notNull(),
  createdAt: integer("created_at").notNull(),
  lastUsedAt: integer("last_used_at"),
});

/** A user whom a provider manages, with what it calls them. */
export const scimUser = sqliteTable(
  "scim_user",
  {
    provider: providerOf(),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    userName: text("user_name").notNull(),
    /** In lower case: providers compare without case. */
    userNameKey: text("user_name_key").notNull(),
    externalId: text("external_id"),
    givenName: text("given_name"),
    familyName: text("family_name"),
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.provider, t.userId] }),
    uniqueIndex("scim_user_name").on(t.provider, t.userNameKey),
    index("scim_user_external").on(t.provider, t.externalId),
    index("scim_user_user").on(t.userId),
  ],
);

/** A group of a provider. */
export const scimGroup = sqliteTable(
  "scim_group",
  {
    id: text("id").primaryKey(),
    provider: providerOf(),
    displayName: text("display_name").notNull(),
    externalId: text("external_id"),
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
  },
  (t) => [uniqueIndex("scim_group_name").on(t.provider, t.displayName)],
);

export const scimMember = sqliteTable(
  "scim_member",
  {
    groupId: text("group_id")
      .notNull()
      .references(() => scimGroup.id, { onDelete: "cascade" }),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
  },
  (t) => [primaryKey({ columns: [t.groupId, t.userId] }), index("scim_member_user").on(t.userId)],
);
