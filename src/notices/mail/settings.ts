/** Which mail server is used: that of the configuration, else what an administrator entered in the page. */
import { eq } from "drizzle-orm";
import * as v from "valibot";
import { audit } from "../../accounts/audit/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { installation } from "../../db/schema/audit.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { AppError } from "../../errors.ts";
import { seal, unseal } from "../../lib/sealed.ts";
import { addressIn } from "../../lib/text/mail-address.ts";
import { noHidden } from "../../lib/text/names.ts";

const KEY = "mail";
const PLACE = sealedIn("mail_server", KEY);

const line = (max: number) => v.pipe(v.string(), v.trim(), noHidden, v.maxLength(max));
const Security = v.picklist(["starttls", "tls", "none"], "must be starttls, tls or none");
const host = v.pipe(
  line(253),
  v.toLowerCase(),
  v.regex(/^[a-z0-9.-]+$|^[0-9a-f:]+$/, "must be a host such as mail.example.com"),
);

/** What an administrator enters. */
export const MailGiven = v.strictObject({
  host,
  port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  /** `starttls`: encrypted after the greeting, or not at all. `tls`: encrypted from the start. `none`: plain text. */
  security: Security,
  user: v.optional(v.nullable(line(254)), null),
  /** Absent or null keeps the stored one, as long as server and user stay the same. */
  password: v.optional(v.nullable(v.pipe(v.string(), v.maxLength(1000))), null),
  /** Sender: an address, or `Name <address>`. */
  from: v.pipe(
    line(300),
    v.check((text) => addressIn(text) !== null, "must be an address, or Name <address>"),
  ),
});
export type MailGiven = v.InferOutput<typeof MailGiven>;

/** A mail server that can be used. */
export interface MailServer {
  host: string;
  port: number;
  security: "starttls" | "tls" | "none";
  user: string | null;
  password: string | null;
  from: string;
  /** Settings of the configuration cannot be changed in the page. */
  source: "configuration" | "page";
}

/** The settings without the password. */
export const MailView = v.strictObject({
  object: v.literal("mail_server"),
  /** False: nothing is mailed, and notices appear in the page only. */
  configured: v.boolean(),
  source: v.nullable(v.picklist(["configuration", "page"])),
  host: v.nullable(v.string()),
  port: v.nullable(v.number()),
  security: v.nullable(Security),
  user: v.nullable(v.string()),
  password_set: v.boolean(),
  from: v.nullable(v.string()),
});
export type MailView = v.InferOutput<typeof MailView>;

/**
 * `smtp://user:password@host:587` or `smtps://…`, also without the password, which is then in `mail_password`;
 * `?tls=none` switches encryption off.
 */
function ofConfiguration(ctx: Ctx): MailServer | null {
  const { mail_url: text, mail_from: from, mail_password: password } = ctx.config;
  const url = text ? URL.parse(text) : null;
  if (!url) return null;
  const tls = url.protocol === "smtps:";
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port) || (tls ? 465 : 587),
    security: tls ? "tls" : url.searchParams.get("tls") === "none" ? "none" : "starttls",
    user: url.username ? decodeURIComponent(url.username) : null,
    password: url.password ? decodeURIComponent(url.password) : url.username ? password : null,
    from: from ?? `Fine-Tune Lab <finetune-lab@${url.hostname}>`,
    source: "configuration",
  };
}

type Stored = Omit<MailServer, "source"> & { password: string | null };

async function stored(ctx: Ctx): Promise<Stored | null> {
  const [row] = await ctx.db.select().from(installation).where(eq(installation.key, KEY));
  return row ? (JSON.parse(row.value) as Stored) : null;
}

/** The mail server in use; null without one. */
export async function mailServer(ctx: Ctx): Promise<MailServer | null> {
  const fixed = ofConfiguration(ctx);
  if (fixed) return fixed;
  const found = await stored(ctx);
  if (!found) return null;
  const password = found.password === null ? null : unseal(ctx.secret, PLACE, found.password);
  return { ...found, password, source: "page" };
}

/** The settings as administrators see them. */
export async function getMail(ctx: Ctx, actor: Actor): Promise<MailView> {
  requireAdmin(actor);
  const found = await mailServer(ctx);
  return {
    object: "mail_server",
    configured: found !== null,
    source: found?.source ?? null,
    host: found?.host ?? null,
    port: found?.port ?? null,
    security: found?.security ?? null,
    user: found?.user ?? null,
    password_set: Boolean(found?.password),
    from: found?.from ?? null,
  };
}

function requireChangeable(ctx: Ctx): void {
  if (ctx.config.mail_url)
    throw new AppError(
      "conflict",
      "mail_configured",
      "The mail server is set by the configuration (mail_url). Change it there, or remove it to use this page.",
    );
}

/** The sealed password to store. A password is never sent to a server that it was not entered for. */
function passwordFor(ctx: Ctx, given: MailGiven, before: Stored | null): string | null {
  if (!given.user) return null;
  if (given.password) return seal(ctx.secret, PLACE, given.password);
  if (!before?.password) return null;
  const same =
    before.host === given.host &&
    before.port === given.port &&
    before.user === given.user &&
    before.security === given.security;
  if (same) return before.password;
  throw new AppError(
    "invalid",
    "password_again",
    "Enter the password again: server, encryption or user changed, and the stored password is only for the previous ones.",
    { param: "password" },
  );
}

/**
 * Stores the mail server. Administrators only.
 * @throws AppError `mail_configured`, `password_again`, `password_in_clear`
 */
export async function setMail(ctx: Ctx, actor: Actor, given: MailGiven): Promise<MailView> {
  requireAdmin(actor);
  requireChangeable(ctx);
  if (given.user && given.security === "none")
    throw new AppError(
      "invalid",
      "password_in_clear",
      "A user and password are not sent without encryption. Choose STARTTLS or TLS, or leave the user empty.",
      { param: "security" },
    );
  const password = passwordFor(ctx, given, await stored(ctx));
  const { host, port, security, from } = given;
  const value = JSON.stringify({ host, port, security, user: given.user || null, password, from } satisfies Stored);
  await ctx.write(async (tx) => {
    await tx
      .insert(installation)
      .values({ key: KEY, value })
      .onConflictDoUpdate({ target: installation.key, set: { value } });
    await audit(tx, ctx, actor, "mail.change", "mail", { host, port, security, user: given.user || null, from });
  });
  return getMail(ctx, actor);
}

/** Removes the mail server: notices then appear in the page only. */
export async function removeMail(ctx: Ctx, actor: Actor): Promise<MailView> {
  requireAdmin(actor);
  requireChangeable(ctx);
  await ctx.write(async (tx) => {
    await tx.delete(installation).where(eq(installation.key, KEY));
    await audit(tx, ctx, actor, "mail.remove", "mail");
  });
  return getMail(ctx, actor);
}
