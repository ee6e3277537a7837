/** Turns security events of accounts into notices: a sentence for each kind, with the device and the address. */
import type { Ctx } from "../../ctx.ts";
import type { BusEvents, SecurityKind } from "../../lib/bus.ts";
import { deviceName } from "../../lib/text/device.ts";
import { recordEvent } from "../events/store.ts";

type SecurityEvent = BusEvents["security.event"];

/** What happened, as a title; `detail` is the one fact of the event. */
const TITLES: Record<SecurityKind, (detail: string) => string> = {
  "sign_in.new_device": () => "New device signed in to your account",
  "sign_in.new_network": () => "Sign-in to your account from a new network",
  "password.changed": () => "Your password was changed",
  "email.changed": () => "The e-mail address of your account was changed",
  "two_factor.added": () => "A second factor was added to your account",
  "two_factor.removed": () => "A second factor was removed from your account",
  "two_factor.reset": () => "The second factor of your account was reset",
  "two_factor.new_codes": () => "New recovery codes were created for your account",
  "two_factor.code_used": () => "A recovery code was used to sign in",
  "passkey.added": () => "A passkey was added to your account",
  "passkey.removed": () => "A passkey was removed from your account",
  "sso.linked": (name) => `Your account was linked with ${name || "an identity provider"}`,
  "key.created": (name) => (name ? `API key ${name} was created for your account` : "An API key was created"),
  "key.rotated": (name) => `API key ${name} has a new secret`,
  "role.changed": (role) => (role ? `Your role is now ${role}` : "Your role was changed"),
  "account.suspended": () => "Your account was suspended",
  "account.restored": () => "The suspension of your account was lifted",
  "account.deletion_scheduled": (day) => `Your account will be deleted on ${day}`,
  "account.deletion_canceled": () => "The deletion of your account was canceled",
  "organization.suspended": () => "Your team was suspended",
  "organization.restored": () => "The suspension of your team was lifted",
  "organization.deletion_scheduled": (day) => `Your team will be deleted on ${day}`,
  "organization.deletion_canceled": () => "The deletion of your team was canceled",
  "account.locked": () => "Too many failed attempts to sign in to your account",
};

/** When, from where and with what; one fact a line. */
function factsOf(event: SecurityEvent): string {
  const when = `${new Date(event.at).toISOString().slice(0, 16).replace("T", " ")} UTC`;
  const lines = [`Time: ${when}`];
  if (event.kind.endsWith(".suspended") && event.detail) lines.push(`Reason: ${event.detail}`);
  if (event.ip) lines.push(`Address: ${event.ip}`);
  if (event.userAgent) lines.push(`Device: ${deviceName(event.userAgent)}`);
  return lines.join("\n");
}

/** Stores the notice of a security event. */
async function record(ctx: Ctx, event: SecurityEvent): Promise<void> {
  const message = await ctx.write((tx) =>
    recordEvent(tx, ctx, {
      org: event.org,
      type: `security.${event.kind}`,
      subject: event.userId,
      userId: event.userId,
      alsoTo: event.previousEmail,
      title: TITLES[event.kind](event.detail ?? ""),
      body: factsOf(event),
      path: "/settings",
    }),
  );
  ctx.bus.emit(message.name, message.event as never);
}

/** Starts listening. @returns a function that stops it */
export function startSecurityNotices(ctx: Ctx): () => void {
  return ctx.bus.on("security.event", (event) => {
    record(ctx, event).catch((cause) =>
      ctx.log("error", "a security notice could not be stored", { kind: event.kind, user: event.userId, cause }),
    );
  });
}
