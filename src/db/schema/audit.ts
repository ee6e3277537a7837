/**
 * The audit log: one row per action, each with the hash of the previous row, which reveals missing rows. Facts and
 * switches of the installation.
 */
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

export const auditLog = sqliteTable(
  "audit_log",
  {
    seq: integer("seq").primaryKey({ autoIncrement: true }),
    id: text("id").notNull().unique(),
    org: text("org"),
    at: integer("at").notNull(),
    /** User id, `system`, or `cli`. */
    actor: text("actor").notNull(),
    /** Noun and verb: `job.create`, `key.revoke`. */
    action: text("action").notNull(),
    target: text("target").notNull(),
    detail: jsonText("detail").$type<Record<string, unknown>>().notNull(),
    previousHash: text("previous_hash").notNull(),
    hash: text("hash").notNull(),
    /** When what it says was erased; its hash stays, and a later entry names it. */
    erasedAt: integer("erased_at"),
  },
  (t) => [
    index("audit_org").on(t.org, t.seq),
    index("audit_target").on(t.target, t.seq),
    index("audit_actor").on(t.org, t.actor, t.seq),
    index("audit_action").on(t.org, t.action, t.seq),
    index("audit_at").on(t.at, t.seq),
  ],
);

/** Facts of the installation: id, schema notes, hash of the setup token. */
export const installation = sqliteTable("installation", {
  key: text("key").primaryKey(),
  value: text("value").notNull(),
});

/** Secret settings that an administrator entered in the page: sealed, and used where no other source has a value. */
export const secretSetting = sqliteTable("secret_setting", {
  /** A setting such as `hub_token`, or `provider.ID.FIELD`. */
  name: text("name").primaryKey(),
  /** Sealed. */
  value: text("value").notNull(),
  updatedAt: integer("updated_at").notNull(),
});

/** A beta feature that an administrator switched, with who did it and when. */
export const betaSwitch = sqliteTable(
  "beta_switch",
  {
    /** A name of BETA_FEATURES; one that no longer exists counts for nothing. */
    feature: text("feature").notNull(),
    /** Id of an organization; empty = the installation. */
    org: text("org").notNull(),
    enabled: integer("enabled", { mode: "boolean" }).notNull(),
    changedBy: text("changed_by").notNull(),
    changedAt: integer("changed_at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.feature, t.org] })],
);
/** Where the audit log is forwarded to, and how far: every entry after `position` is still to be sent. */
export const auditForward = sqliteTable("audit_forward", {
  kind: text("kind", { enum: ["syslog", "webhook"] }).primaryKey(),
  /** What its kind needs, without secrets, as JSON. */
  settings: text("settings").notNull(),
  /** Sealed: the address of a webhook. */
  url: text("url"),
  /** Sealed: what signs a webhook. */
  secret: text("secret"),
  /** Number (`seq`) of the last entry that was sent. */
  position: integer("position").notNull(),
  /** Failed attempts since the last success. */
  attempts: integer("attempts").notNull().default(0),
  nextAt: integer("next_at").notNull(),
  lastError: text("last_error"),
  lastErrorAt: integer("last_error_at"),
  lastSentAt: integer("last_sent_at"),
  updatedAt: integer("updated_at").notNull(),
});
