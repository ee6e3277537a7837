/** Single sign-on: identity providers, the domains that belong to them, and what their groups mean. */
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { organization } from "./auth.ts";

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
