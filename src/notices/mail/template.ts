/** The text and the HTML of a mail. */
import type { Ctx } from "../../ctx.ts";

/** What a mail says; plain text only. */
export interface Letter {
  title: string;
  body: string;
  /** Where the button leads, from `/`. */
  path: string;
  /** Label of the button: `Open the run`. */
  action: string;
  /** A second link, for what should not have happened. */
  alert?: { path: string; label: string };
  /** Why the reader gets this mail. */
  reason: string;
}

export interface Mail {
  subject: string;
  text: string;
  html: string;
}

const NAME = "Fine-Tune Lab";

/** The address of this installation as mails name it: `public_url`, else where the server listens. */
export function siteAddress(ctx: Ctx): string {
  return (ctx.config.public_url ?? `http://${ctx.config.listen}`).replace(/\/$/, "");
}

const escapeHtml = (text: string) =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

/** Mail programs know neither style sheets nor variables: colors are written out, and readable on light and dark. */
function htmlOf(letter: Letter, site: string, contact: string | null): string {
  const link = (path: string) => escapeHtml(site + path);
  const paragraphs = letter.body
    .split("\n")
    .filter(Boolean)
    .map((line) => `<p style="margin:0 0 12px">${escapeHtml(line)}</p>`)
    .join("");
  const alert = letter.alert
    ? `<p style="margin:16px 0 0"><a href="${link(letter.alert.path)}">${escapeHtml(letter.alert.label)}</a></p>`
    : "";
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>${escapeHtml(letter.title)}</title></head>
<body style="margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif">
<div style="max-width:560px;margin:0 auto">
<h1 style="font-size:20px;margin:0 0 16px">${escapeHtml(letter.title)}</h1>
${paragraphs}
<p style="margin:20px 0 0"><a href="${link(letter.path)}" style="display:inline-block;padding:10px 16px;border-radius:6px;background:#1f5fbf;color:#ffffff;text-decoration:none">${escapeHtml(letter.action)}</a></p>
${alert}
<p style="margin:32px 0 0;font-size:13px;color:#6b7280">${escapeHtml(letter.reason)}<br>${NAME} at ${escapeHtml(site)}${contact ? `<br>${escapeHtml(contact)}` : ""}</p>
</div></body></html>`;
}

/** A mail with its links complete. */
export function mailOf(ctx: Ctx, letter: Letter): Mail {
  const site = siteAddress(ctx);
  const contact = ctx.config.contact_address && `Questions: ${ctx.config.contact_address}`;
  const lines = [
    letter.title,
    "",
    ...(letter.body ? [letter.body, ""] : []),
    `${letter.action}: ${site}${letter.path}`,
    ...(letter.alert ? ["", `${letter.alert.label}: ${site}${letter.alert.path}`] : []),
    "",
    "-- ",
    letter.reason,
    `${NAME} at ${site}`,
    ...(contact ? [contact] : []),
  ];
  return { subject: `[${NAME}] ${letter.title}`, text: lines.join("\n"), html: htmlOf(letter, site, contact) };
}
