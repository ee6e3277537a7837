/** Sends entries of the audit log to one destination, in order. */
import { hostname } from "node:os";
import { namesOf } from "../../accounts/audit/names.ts";
import type { AuditRow } from "../../accounts/audit/service.ts";
import { VERSION } from "../../assets.ts";
import type { Ctx } from "../../ctx.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seconds } from "../../lib/request-fields.ts";
import { unseal } from "../../lib/sealed.ts";
import { clean } from "../../lib/text/redact.ts";
import { postSigned } from "../webhooks/post.ts";
import { type ForwardRow, syslogOf } from "./model.ts";
import { type SyslogEntry, type SyslogSender, syslogMessage } from "./syslog.ts";
import { sendSyslog } from "./transport.ts";

/** RFC 5426 asks for 2,048 bytes of every receiver, RFC 5425 for 8,192; streams take more in practice. */
const MAX_BYTES = { udp: 2048, tcp: 65_536, tls: 65_536 };

/** An entry as receivers get it. */
type Forwarded = Omit<AuditRow, "at" | "previousHash"> & {
  object: "audit_row";
  created_at: number;
  actor_email: string | null;
  target_name: string | null;
  previous_hash: string;
};

async function viewsOf(ctx: Ctx, rows: AuditRow[]): Promise<Forwarded[]> {
  const names = await namesOf(ctx, rows);
  return rows.map(({ at, previousHash, ...row }) => ({
    object: "audit_row",
    ...row,
    created_at: seconds(at),
    actor_email: names.get(row.actor)?.name ?? null,
    target_name: names.get(row.target)?.name ?? null,
    previous_hash: previousHash,
  }));
}

function syslogEntry(row: AuditRow, view: Forwarded): SyslogEntry {
  const { id, org, actor, action, target, hash } = row;
  const seq = String(row.seq);
  return {
    at: row.at,
    action,
    seq: row.seq,
    data: { id, seq, org, actor, actorEmail: view.actor_email, action, target, hash },
    json: JSON.stringify(view),
    shortJson: JSON.stringify({ ...view, target_name: null, detail: { left_out: "too long for one message" } }),
  };
}

function senderOf(ctx: Ctx, row: ForwardRow): SyslogSender {
  const { facility, enterprise_number: enterprise, transport } = syslogOf(row);
  const site = ctx.config.public_url ? new URL(ctx.config.public_url).hostname : hostname();
  return { facility, enterprise, hostname: site, version: VERSION, maxBytes: MAX_BYTES[transport] };
}

async function toWebhook(ctx: Ctx, row: ForwardRow, id: string, body: object): Promise<void> {
  const open = (kind: "audit_webhook_url" | "audit_webhook_secret", sealed: string | null) =>
    unseal(ctx.secret, sealedIn(kind, row.kind), sealed ?? "");
  const to = { url: open("audit_webhook_url", row.url), secrets: [open("audit_webhook_secret", row.secret)] };
  const { error } = await postSigned(ctx, to, id, JSON.stringify(body));
  if (error !== null) throw new AppError("unavailable", "forwarding_failed", error);
}

/**
 * Sends entries. A failure may come after some of them arrived: receivers recognize repeats by the id of an entry.
 * @throws Error when it is not sure that all arrived
 */
export async function sendEntries(ctx: Ctx, row: ForwardRow, rows: AuditRow[]): Promise<void> {
  const views = await viewsOf(ctx, rows);
  if (row.kind === "syslog") {
    const sender = senderOf(ctx, row);
    const messages = rows.flatMap((each, index) => {
      const view = views[index];
      return view ? [syslogMessage(sender, syslogEntry(each, view))] : [];
    });
    return sendSyslog(syslogOf(row), messages, ctx.signal);
  }
  const id = `audit_${rows[0]?.seq}_${rows.at(-1)?.seq}`;
  const created = seconds(ctx.clock.now());
  return toWebhook(ctx, row, id, { object: "event", id, type: "audit.entries", created_at: created, data: views });
}

/** Sends a message that is no entry. @throws Error when it did not arrive */
export async function sendTestEntry(ctx: Ctx, row: ForwardRow): Promise<void> {
  const id = newId("audit");
  const at = ctx.clock.now();
  const text = { test: true, message: "An administrator tests the forwarding of the audit log." };
  if (row.kind === "webhook")
    return toWebhook(ctx, row, id, { object: "event", id, type: "audit.test", created_at: seconds(at), data: [text] });
  const json = JSON.stringify(text);
  const entry = { at, action: "audit.test", seq: null, data: { id, action: "audit.test" }, json, shortJson: json };
  return sendSyslog(syslogOf(row), [syslogMessage(senderOf(ctx, row), entry)], ctx.signal);
}

const CODES: Record<string, string> = {
  ECONNREFUSED: "The connection was refused.",
  ECONNRESET: "The receiver broke the connection.",
  ENOTFOUND: "The host name is unknown.",
  EAI_AGAIN: "The host name is unknown.",
  EHOSTUNREACH: "The host is unreachable.",
  ENETUNREACH: "The network is unreachable.",
  DNS_ENOTFOUND: "The host name is unknown.",
};

/** Why sending failed, for people. */
export function failureOf(cause: unknown): string {
  if (cause instanceof AppError) return cause.message;
  const { code, message } = cause as { code?: string; message?: string };
  return CODES[code ?? ""] ?? `It failed: ${clean(message ?? String(cause), 200)}`;
}
