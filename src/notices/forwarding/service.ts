/** Settings of the forwarding of the audit log. Administrators only. */
import { desc, eq } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { auditForward, auditLog } from "../../db/schema/audit.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { checkUrl } from "../webhooks/post.ts";
import { newSigningSecret, secretHint } from "../webhooks/signature.ts";
import {
  type ForwardingTest,
  type ForwardingView,
  type ForwardRow,
  forwardingView,
  type Kind,
  type SetSyslog,
  type SetWebhook,
  type SyslogSettings,
  syslogOf,
  type WebhookSettings,
  type WebhookWithSecret,
} from "./model.ts";
import { failureOf, sendTestEntry } from "./send.ts";

/** Number of the newest entry. */
async function newestOf(db: Db): Promise<number> {
  const [row] = await db.select({ seq: auditLog.seq }).from(auditLog).orderBy(desc(auditLog.seq)).limit(1);
  return row?.seq ?? 0;
}

async function find(db: Db, kind: Kind): Promise<ForwardRow | null> {
  const [row] = await db.select().from(auditForward).where(eq(auditForward.kind, kind));
  return row ?? null;
}

/** Where the log is forwarded to. */
export async function listForwarding(ctx: Ctx, actor: Actor): Promise<ForwardingView[]> {
  requireAdmin(actor);
  const rows = await ctx.db.select().from(auditForward).orderBy(auditForward.kind);
  const newest = await newestOf(ctx.db);
  return rows.map((row) => forwardingView(row, newest));
}

/** The settings of syslog; null without any. */
export async function readSyslog(ctx: Ctx, actor: Actor): Promise<SyslogSettings | null> {
  requireAdmin(actor);
  const row = await find(ctx.db, "syslog");
  return row && syslogOf(row);
}

/** Stores a destination. A new one begins with the entry that says so, or with the first one that is kept. */
async function store(
  ctx: Ctx,
  actor: Actor,
  kind: Kind,
  from: "now" | "beginning",
  values: Pick<ForwardRow, "settings" | "url" | "secret">,
  detail: Record<string, unknown>,
): Promise<ForwardingView> {
  const now = ctx.clock.now();
  const view = await ctx.write(async (tx) => {
    const before = await find(tx, kind);
    const row: ForwardRow = {
      ...values,
      kind,
      position: before ? before.position : from === "beginning" ? 0 : await newestOf(tx),
      attempts: 0,
      nextAt: now,
      lastError: null,
      lastErrorAt: before?.lastErrorAt ?? null,
      lastSentAt: before?.lastSentAt ?? null,
      updatedAt: Math.max(now, (before?.updatedAt ?? 0) + 1),
    };
    await tx.insert(auditForward).values(row).onConflictDoUpdate({ target: auditForward.kind, set: row });
    await audit(tx, ctx, actor, "audit.forward", kind, detail);
    return forwardingView(row, await newestOf(tx));
  });
  ctx.bus.emit("audit.forwarding", {});
  return view;
}

/** @throws AppError `ca_without_tls` */
export async function setSyslog(ctx: Ctx, actor: Actor, given: SetSyslog): Promise<ForwardingView> {
  requireAdmin(actor);
  const { from, ...settings } = given;
  if (settings.ca && settings.transport !== "tls")
    throw new AppError(
      "invalid",
      "ca_without_tls",
      "A certificate authority is for TLS. Choose tls, or leave it out.",
      {
        param: "ca",
      },
    );
  const { host, port, transport, facility } = settings;
  const values = { settings: JSON.stringify(settings), url: null, secret: null };
  return store(ctx, actor, "syslog", from, values, { host, port, transport, facility });
}

/** @throws AppError `address_refused`, `offline`, `invalid_value` */
export async function setForwardWebhook(ctx: Ctx, actor: Actor, given: SetWebhook): Promise<WebhookWithSecret> {
  requireAdmin(actor);
  const url = new URL(given.url);
  if (url.username || url.password)
    throw new AppError("invalid", "invalid_value", "'url' must not contain a user or a password.", { param: "url" });
  checkUrl(ctx, url);
  const before = await find(ctx.db, "webhook");
  const place = sealedIn("audit_webhook_secret", "webhook");
  const fresh = !before?.secret || given.rotate_secret;
  const secret = fresh ? newSigningSecret() : unseal(ctx.secret, place, before.secret ?? "");
  const shown = `${url.origin}${url.pathname}${url.search ? "?…" : ""}`;
  const settings = JSON.stringify({ shown, hint: secretHint(secret) } satisfies WebhookSettings);
  const values = {
    settings,
    url: seal(ctx.secret, sealedIn("audit_webhook_url", "webhook"), url.href),
    secret: seal(ctx.secret, place, secret),
  };
  const view = await store(ctx, actor, "webhook", given.from, values, { url: shown });
  return { ...view, signing_secret: fresh ? secret : null };
}

/** Stops forwarding to a destination. @throws AppError `audit_forwarding_not_found` */
export async function removeForwarding(ctx: Ctx, actor: Actor, kind: Kind): Promise<void> {
  requireAdmin(actor);
  await ctx.write(async (tx) => {
    const row = await find(tx, kind);
    if (!row) throw notFound("audit_forwarding", kind);
    await tx.delete(auditForward).where(eq(auditForward.kind, kind));
    await audit(tx, ctx, actor, "audit.forward_end", kind, { position: row.position });
  });
  ctx.bus.emit("audit.forwarding", {});
}

/** Sends a test entry now. @throws AppError `audit_forwarding_not_found` */
export async function testForwarding(ctx: Ctx, actor: Actor, kind: Kind): Promise<ForwardingTest> {
  requireAdmin(actor);
  const row = await find(ctx.db, kind);
  if (!row) throw notFound("audit_forwarding", kind);
  const answer = (error: string | null): ForwardingTest => ({
    object: "audit_forwarding.test",
    kind,
    sent: error === null,
    error,
  });
  return sendTestEntry(ctx, row).then(
    () => answer(null),
    (cause) => answer(failureOf(cause)),
  );
}
