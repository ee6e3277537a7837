/** Forwarding of the audit log: what administrators set, and what they see of it. */
import * as v from "valibot";
import type { auditForward } from "../../db/schema/audit.ts";
import { seconds } from "../../lib/request-fields.ts";
import { FACILITIES, type Facility } from "./syslog.ts";

export type ForwardRow = typeof auditForward.$inferSelect;
export const KINDS = ["syslog", "webhook"] as const;
export type Kind = ForwardRow["kind"];
const TRANSPORTS = ["udp", "tcp", "tls"] as const;

const From = v.picklist(["now", "beginning"], "must be now or beginning");
const host = v.pipe(
  v.string(),
  v.trim(),
  v.toLowerCase(),
  v.maxLength(253),
  v.regex(/^[a-z0-9._-]+$|^[0-9a-f:]+$/, "must be a host such as logs.example.com"),
);
const pem = v.pipe(
  v.string(),
  v.trim(),
  v.maxLength(100_000),
  v.regex(/^-----BEGIN CERTIFICATE-----[\s\S]+-----END CERTIFICATE-----$/, "must be a certificate in PEM"),
);

export const SetSyslog = v.strictObject({
  host,
  port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  /** `udp` (RFC 5426), `tcp` with octet counting (RFC 6587), `tls` (RFC 5425). */
  transport: v.picklist(TRANSPORTS, "must be udp, tcp or tls"),
  facility: v.optional(v.picklist(Object.keys(FACILITIES) as Facility[], "must be a facility such as auth"), "audit"),
  /** The authority of the receiver's certificate, in PEM; absent or null = the public ones. */
  ca: v.optional(v.nullable(pem), null),
  /** Private enterprise number in the name of the structured data, `audit@32473`. */
  enterprise_number: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4_294_967_295)), 32_473),
  /** Which entries a new destination gets: those from now on, or all that are kept. A change keeps its position. */
  from: v.optional(From, "now"),
});
export type SetSyslog = v.InferOutput<typeof SetSyslog>;
export type SyslogSettings = Omit<SetSyslog, "from">;

export const SetWebhook = v.strictObject({
  url: v.pipe(v.string(), v.maxLength(2000), v.url("must be an address such as https://example.com/audit")),
  /** Replaces the secret that signs; the answer has the new one. */
  rotate_secret: v.optional(v.boolean(), false),
  from: v.optional(From, "now"),
});
export type SetWebhook = v.InferOutput<typeof SetWebhook>;
/** What of a webhook is stored in clear. */
export interface WebhookSettings {
  shown: string;
  hint: string;
}

export const ForwardingView = v.strictObject({
  object: v.literal("audit_forwarding"),
  kind: v.picklist(KINDS),
  /** Where to, for people: `tls://logs.example.com:6514`. */
  destination: v.string(),
  facility: v.nullable(v.string()),
  signing_secret_hint: v.nullable(v.string()),
  /** Number of the last entry that was sent, and of the newest one. */
  position: v.number(),
  newest: v.number(),
  /** Entries still to send. */
  waiting: v.number(),
  last_sent_at: v.nullable(v.number()),
  /** Null since the last success. */
  last_error: v.nullable(v.string()),
  last_error_at: v.nullable(v.number()),
  /** Failed attempts since the last success; the next one is due at `next_attempt_at`. */
  attempts: v.number(),
  next_attempt_at: v.nullable(v.number()),
});
export type ForwardingView = v.InferOutput<typeof ForwardingView>;

/** The webhook; only the answer that created or rotated its secret has it. */
export const WebhookWithSecret = v.strictObject({ ...ForwardingView.entries, signing_secret: v.nullable(v.string()) });
export type WebhookWithSecret = v.InferOutput<typeof WebhookWithSecret>;

export const ForwardingTest = v.strictObject({
  object: v.literal("audit_forwarding.test"),
  kind: v.picklist(KINDS),
  sent: v.boolean(),
  error: v.nullable(v.string()),
});
export type ForwardingTest = v.InferOutput<typeof ForwardingTest>;

const secondsOf = (ms: number | null) => (ms === null ? null : seconds(ms));

export const syslogOf = (row: ForwardRow) => JSON.parse(row.settings) as SyslogSettings;
const webhookOf = (row: ForwardRow) => JSON.parse(row.settings) as WebhookSettings;

function destinationOf(row: ForwardRow): string {
  if (row.kind === "webhook") return webhookOf(row).shown;
  const { transport, host, port } = syslogOf(row);
  return `${transport}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

export function forwardingView(row: ForwardRow, newest: number): ForwardingView {
  return {
    object: "audit_forwarding",
    kind: row.kind,
    destination: destinationOf(row),
    facility: row.kind === "syslog" ? syslogOf(row).facility : null,
    signing_secret_hint: row.kind === "webhook" ? webhookOf(row).hint : null,
    position: row.position,
    newest,
    waiting: Math.max(0, newest - row.position),
    last_sent_at: secondsOf(row.lastSentAt),
    last_error: row.lastError,
    last_error_at: secondsOf(row.lastErrorAt),
    attempts: row.attempts,
    next_attempt_at: row.attempts > 0 ? seconds(row.nextAt) : null,
  };
}
