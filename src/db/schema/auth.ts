/** Accounts: better-auth's tables (users, sessions, organizations, two-factor) and our API keys. */
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import type { Scope } from "../../roles.ts";
import { jsonText } from "../json.ts";

export const user = sqliteTable("user", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  email: text("email").notNull().unique(),
  emailVerified: integer("email_verified", { mode: "boolean" }).notNull().default(false),
  image: text("image"),
  /** `admin` administers the installation, `reviewer` reviews flagged content, `member` works in organizations. */
  role: text("role", { enum: ["admin", "reviewer", "member"] })
    .notNull()
    .default("member"),
  banned: integer("banned", { mode: "boolean" }).notNull().default(false),
  twoFactorEnabled: integer("two_factor_enabled", { mode: "boolean" }).notNull().default(false),
  /** `service`: an account of an organization that acts only with API keys, without a password or mail. */
  kind: text("kind", { enum: ["person", "service"] })
    .notNull()
    .default("person"),
  /** Who created a service account; null for people. */
  createdBy: text("created_by"),
  /** Last request with a session, in milliseconds; keys have their own time of last use. */
  lastSeenAt: integer("last_seen_at"),
  createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
  updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
});

/**
 * The second factor of a user: an authenticator app and the recovery codes, a JSON list of hashes. With passkeys alone,
 * the row is not verified and holds only the codes. The secret is sealed.
 */
export const twoFactor = sqliteTable("two_factor", {
  id: text("id").primaryKey(),
  userId: text("user_id")
    .notNull()
    .unique()
    .references(() => user.id, { onDelete: "cascade" }),
  secret: text("secret").notNull(),
  backupCodes: text("backup_codes").notNull(),
  /** False until the first code of the app is confirmed. */
  verified: integer("verified", { mode: "boolean" }).notNull().default(false),
  failedVerificationCount: integer("failed_verification_count").notNull().default(0),
  lockedUntil: integer("locked_until", { mode: "timestamp_ms" }),
});

/** Passkeys (WebAuthn): what a sign-in with one is checked against. Nothing here is secret. */
export const passkey = sqliteTable(
  "passkey",
  {
    id: text("id").primaryKey(),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    /** Id that the authenticator gave it, and its public key (COSE), in base64url. */
    credentialId: text("credential_id").notNull().unique(),
    publicKey: text("public_key").notNull(),
    /** Signatures so far, as the authenticator counts them; 0 where it does not count. */
    counter: integer("counter").notNull(),
    /** How browsers reach it: `internal`, `hybrid`, `usb`, `nfc`, `ble`, … */
    transports: jsonText("transports").$type<string[]>().notNull(),
    /** It is copied between devices, as by a password manager. */
    synced: integer("synced", { mode: "boolean" }).notNull(),
    createdAt: integer("created_at").notNull(),
    lastUsedAt: integer("last_used_at"),
  },
  (t) => [index("passkey_user").on(t.userId, t.createdAt)],
);

export const session = sqliteTable(
  "session",
  {
    id: text("id").primaryKey(),
    token: text("token").notNull().unique(),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    activeOrganizationId: text("active_organization_id"),
    ipAddress: text("ip_address"),
    userAgent: text("user_agent"),
    /** When the password or the second factor was given again; null = not since the sign-in. */
    provedAt: integer("proved_at"),
    /** How it began: `sso:` and the id of a provider, or `passkey`; null = with a password. */
    method: text("method"),
    /** It began with a passkey alone, or at a provider whose sign-in counts as a second factor. */
    twoFactors: integer("two_factors", { mode: "boolean" }).notNull().default(false),
    expiresAt: integer("expires_at", { mode: "timestamp_ms" }).notNull(),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
  },
  (t) => [index("session_user").on(t.userId)],
);

export const account = sqliteTable(
  "account",
  {
    id: text("id").primaryKey(),
    accountId: text("account_id").notNull(),
    providerId: text("provider_id").notNull(),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    accessToken: text("access_token"),
    refreshToken: text("refresh_token"),
    idToken: text("id_token"),
    accessTokenExpiresAt: integer("access_token_expires_at", { mode: "timestamp_ms" }),
    refreshTokenExpiresAt: integer("refresh_token_expires_at", { mode: "timestamp_ms" }),
    scope: text("scope"),
    password: text("password"),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
  },
  (t) => [index("account_user").on(t.userId), uniqueIndex("account_provider").on(t.providerId, t.accountId)],
);

export const verification = sqliteTable(
  "verification",
  {
    id: text("id").primaryKey(),
    identifier: text("identifier").notNull(),
    value: text("value").notNull(),
    expiresAt: integer("expires_at", { mode: "timestamp_ms" }).notNull(),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
  },
  (t) => [index("verification_identifier").on(t.identifier)],
);

export const organization = sqliteTable("organization", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  slug: text("slug").notNull().unique(),
  logo: text("logo"),
  metadata: text("metadata"),
  /** Since when members need two-factor authentication, in milliseconds since 1970; null = they need not. */
  twoFactorSince: integer("two_factor_since"),
  createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
});

/** Limits of one organization that replace those of the settings: a row for each limit that differs. */
export const organizationLimit = sqliteTable(
  "organization_limit",
  {
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    /** `bytes`, `files`, `datasets`, `pending_uploads` or `waiting_jobs`. */
    name: text("name").notNull(),
    /** 0 = no limit. */
    value: integer("value").notNull(),
  },
  (t) => [primaryKey({ columns: [t.org, t.name] })],
);

/** Limits that a team set for itself, below those of the installation: a row for each. */
export const teamLimit = sqliteTable(
  "team_limit",
  {
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    value: integer("value").notNull(),
  },
  (t) => [primaryKey({ columns: [t.org, t.name] })],
);

export const member = sqliteTable(
  "member",
  {
    id: text("id").primaryKey(),
    organizationId: text("organization_id")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    /** Role in the team: `owner`, `admin`, `member`, `viewer` or `billing`; see src/roles.ts. */
    role: text("role").notNull().default("member"),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
  },
  (t) => [uniqueIndex("member_org_user").on(t.organizationId, t.userId), index("member_user").on(t.userId)],
);

export const invitation = sqliteTable("invitation", {
  id: text("id").primaryKey(),
  organizationId: text("organization_id")
    .notNull()
    .references(() => organization.id, { onDelete: "cascade" }),
  email: text("email").notNull(),
  /** Role in the installation. */
  role: text("role"),
  /** Role in the team; null = owner for administrators of the installation, member for others. */
  teamRole: text("team_role"),
  status: text("status").notNull().default("pending"),
  /** SHA-256 of the token in the invitation link. */
  tokenHash: text("token_hash").unique(),
  expiresAt: integer("expires_at", { mode: "timestamp_ms" }).notNull(),
  createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
  inviterId: text("inviter_id")
    .notNull()
    .references(() => user.id, { onDelete: "cascade" }),
});

/** `ftl-…` keys: only the SHA-256 is stored, and the first characters to identify them. */
export const apiKey = sqliteTable(
  "api_key",
  {
    id: text("id").primaryKey(),
    org: text("org")
      .notNull()
      .references(() => organization.id, { onDelete: "cascade" }),
    userId: text("user_id")
      .notNull()
      .references(() => user.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    hash: text("hash").notNull().unique(),
    prefix: text("prefix").notNull(),
    createdAt: integer("created_at").notNull(),
    lastUsedAt: integer("last_used_at"),
    expiresAt: integer("expires_at"),
    revokedAt: integer("revoked_at"),
    /** The key that created this one; null when a person did. */
    parentId: text("parent_id"),
    /** What it may do of what its user may do; null = everything. */
    scopes: jsonText("scopes").$type<Scope[]>(),
    /** Client addresses and networks that may use it; null = any. */
    allowedAddresses: jsonText("allowed_addresses").$type<string[]>(),
    /** Ids of models and names of deployments that it may use; null = any. */
    allowedModels: jsonText("allowed_models").$type<string[]>(),
    /** Null = the limit of the installation. */
    requestsPerMinute: integer("requests_per_minute"),
    /** Null = no limit. */
    tokensPerMinute: integer("tokens_per_minute"),
    /** When the secret was last replaced; null = never. */
    rotatedAt: integer("rotated_at"),
    /** The replaced secret as SHA-256, its first characters, and when it stops working. */
    previousHash: text("previous_hash").unique(),
    previousPrefix: text("previous_prefix"),
    previousUntil: integer("previous_until"),
  },
  (t) => [
    index("api_key_org").on(t.org, t.createdAt, t.id),
    index("api_key_user").on(t.userId),
    index("api_key_parent").on(t.parentId),
  ],
);
