/**
 * Notices: events, the outbox of what is sent because of them, the list that each user sees, where webhooks go, and
 * what each user chose.
 */
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { jsonText } from "../json.ts";

/** Something that happened; stored in the transaction of the change itself where there is one. */
export const noticeEvent = sqliteTable(
  "notice_event",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    /** One of EVENT_TYPES in notices/events/types.ts. */
    type: text("type").notNull(),
    /** Id of the object, which receivers of webhooks get. */
    subject: text("subject").notNull(),
    /** The user it concerns; null = webhooks only. */
    userId: text("user_id"),
    /** A second e-mail address: the previous one of a changed address. */
    alsoTo: text("also_to"),
    title: text("title").notNull(),
    body: text("body").notNull(),
    /** Page of this site, from `/`. */
    path: text("path").notNull(),
    createdAt: integer("created_at").notNull(),
    /** When its deliveries were stored; null = not yet. */
    spreadAt: integer("spread_at"),
    /** When its one-time link was used. */
    answeredAt: integer("answered_at"),
  },
  (t) => [index("notice_event_spread").on(t.spreadAt, t.createdAt, t.id), index("notice_event_at").on(t.createdAt)],
);

/** The outbox: one message to one destination. */
export const noticeDelivery = sqliteTable(
  "notice_delivery",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    eventId: text("event_id").notNull(),
    type: text("type").notNull(),
    channel: text("channel", { enum: ["webhook", "mail"] }).notNull(),
    /** Id of the webhook endpoint, or `mail:` and the address. */
    destination: text("destination").notNull(),
    /** What is sent, for people. */
    summary: text("summary").notNull(),
    /** The body of a webhook; a mail is encrypted. */
    payload: text("payload").notNull(),
    state: text("state", { enum: ["waiting", "sent", "dead"] }).notNull(),
    attempts: integer("attempts").notNull().default(0),
    nextAt: integer("next_at").notNull(),
    /** HTTP status of the last answer. */
    lastStatus: integer("last_status"),
    lastError: text("last_error"),
    createdAt: integer("created_at").notNull(),
    endedAt: integer("ended_at"),
  },
  (t) => [
    uniqueIndex("notice_delivery_once").on(t.eventId, t.destination),
    index("notice_delivery_due").on(t.state, t.nextAt),
    index("notice_delivery_list").on(t.state, t.createdAt, t.id),
    index("notice_delivery_destination").on(t.destination, t.createdAt, t.id),
  ],
);

/** What one user sees in the list of the page. */
export const notice = sqliteTable(
  "notice",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    userId: text("user_id").notNull(),
    eventId: text("event_id").notNull(),
    type: text("type").notNull(),
    title: text("title").notNull(),
    body: text("body").notNull(),
    path: text("path").notNull(),
    createdAt: integer("created_at").notNull(),
    readAt: integer("read_at"),
  },
  (t) => [
    uniqueIndex("notice_once").on(t.eventId, t.userId),
    index("notice_list").on(t.userId, t.createdAt, t.id),
    index("notice_unread").on(t.userId, t.readAt),
  ],
);

/** Where webhooks of an organization go. */
export const webhookEndpoint = sqliteTable(
  "webhook_endpoint",
  {
    id: text("id").primaryKey(),
    org: text("org").notNull(),
    name: text("name").notNull(),
    /** Shape of the body: OpenAI's events, or `{text}` as Slack's incoming webhooks take it. */
    format: text("format", { enum: ["openai", "slack"] }).notNull(),
    /** Encrypted: an address can hold a token. */
    url: text("url").notNull(),
    /** The address without what may be secret. */
    shownUrl: text("shown_url").notNull(),
    eventTypes: jsonText("event_types").$type<string[]>().notNull(),
    /** Encrypted. */
    secret: text("secret").notNull(),
    secretHint: text("secret_hint").notNull(),
    /** The previous secret, encrypted, and until when it signs as well. */
    oldSecret: text("old_secret"),
    oldSecretUntil: integer("old_secret_until"),
    createdBy: text("created_by").notNull(),
    createdAt: integer("created_at").notNull(),
    updatedAt: integer("updated_at").notNull(),
  },
  (t) => [index("webhook_endpoint_org").on(t.org, t.createdAt, t.id)],
);

/** What a user chose, where it differs from the default. */
export const noticePreference = sqliteTable(
  "notice_preference",
  {
    userId: text("user_id").notNull(),
    topic: text("topic").notNull(),
    channel: text("channel").notNull(),
    wanted: integer("wanted", { mode: "boolean" }).notNull(),
  },
  (t) => [primaryKey({ columns: [t.userId, t.topic, t.channel] })],
);
