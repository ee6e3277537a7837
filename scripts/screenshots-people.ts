/** Accounts and links for the screenshots: a member, somebody with a second factor, and one link of each kind. */

import { createReset } from "../src/accounts/auth/resets.ts";
import { createUser } from "../src/accounts/auth/service.ts";
import { signIn } from "../src/accounts/auth/sign-in.ts";
import { confirmTwoFactor, startTwoFactor } from "../src/accounts/factors/two-factor.ts";
import { createInvitation } from "../src/accounts/organizations/invitations.ts";
import { type Actor, type Ctx, memberActor, systemActor } from "../src/ctx.ts";
import { passkey, verification } from "../src/db/schema/auth.ts";
import { noticeEvent } from "../src/db/schema/notices.ts";
import { DAY_MS } from "../src/lib/clock.ts";
import { newSecret, randomChars, sha256Hex } from "../src/lib/ids.ts";
import { alertToken } from "../src/notices/events/alert.ts";
import { totp } from "../test/support/totp.ts";
import { addHeld } from "./screenshots-held.ts";
import type { Site } from "./screenshots-shoot.ts";

const CLIENT = { address: "203.0.113.7", userAgent: "Firefox on Linux" };

/** A Cookie header with the values of `Set-Cookie` headers. */
const cookieHeader = (cookies: string[]) => cookies.map((cookie) => cookie.split(";")[0]).join("; ");

/** The link of a mail that confirms a new e-mail address. */
async function emailLink(ctx: Ctx, userId: string): Promise<string> {
  const token = newSecret("");
  const now = ctx.clock.now();
  await ctx.write((tx) =>
    tx.insert(verification).values({
      id: randomChars(32),
      identifier: `email-change:${sha256Hex(token)}`,
      value: JSON.stringify({ userId, email: "ada.lovelace@new-address.example.test" }),
      expiresAt: new Date(now + DAY_MS),
      createdAt: new Date(now),
      updatedAt: new Date(now),
    }),
  );
  return `/confirm-email?token=${token}`;
}

/** The link of a security notice. */
async function alertLink(ctx: Ctx, { org, userId }: Actor): Promise<string> {
  const now = ctx.clock.now();
  const id = "evt_shotalert";
  await ctx.write((tx) =>
    tx.insert(noticeEvent).values({
      id,
      org,
      type: "security.sign_in.new_device",
      subject: userId,
      userId,
      title: "New device signed in to your account",
      body: "Address: 203.0.113.7\nDevice: Firefox on Linux",
      path: "/settings",
      createdAt: now,
      spreadAt: now,
    }),
  );
  return `/not-me?token=${alertToken(ctx, id, now)}`;
}

/** Two passkeys as they look after a while; nobody can sign in with them. */
async function addPasskeys(ctx: Ctx, { userId }: Actor): Promise<void> {
  const now = ctx.clock.now();
  const row = (id: string, name: string, days: number, transports: string[]) => ({
    id: `passkey_shot${id}`,
    userId,
    name,
    credentialId: `shot-${id}`,
    publicKey: "",
    counter: 0,
    transports,
    synced: transports.includes("hybrid"),
    createdAt: now - days * DAY_MS,
    lastUsedAt: days > 10 ? now - DAY_MS : null,
  });
  const rows = [row("a", "MacBook of the lab", 40, ["internal", "hybrid"]), row("b", "YubiKey 5C", 3, ["usb", "nfc"])];
  await ctx.write((tx) => tx.insert(passkey).values(rows));
}

/** Adds the accounts and links. @returns what a {@link Site} needs of them */
export async function addPeople(ctx: Ctx, admin: Actor, password: string): Promise<Pick<Site, "links" | "cookies">> {
  const add = async (email: string) => {
    const user = await createUser(ctx, systemActor(admin.org), { email, password, role: "member", org: admin.org });
    const { cookies } = await signIn(ctx, { email, password, client: { ...CLIENT, cookies: null } });
    const actor = memberActor({ userId: user.id, org: admin.org, email: email });
    return { actor, cookies };
  };
  const member = await add("grace.hopper@example.test");
  const guarded = await add("katherine@example.test");
  const client = { ...CLIENT, cookies: cookieHeader(guarded.cookies) };
  const { secret } = await startTwoFactor(ctx, guarded.actor, client, password);
  const { cookies } = await confirmTwoFactor(ctx, guarded.actor, client, totp(secret));
  await addPasskeys(ctx, guarded.actor);
  const { token } = await createInvitation(ctx, admin, { email: "new.colleague@example.test", role: "member" });
  const reset = await createReset(ctx, admin, member.actor.userId);
  return {
    cookies: {
      member: cookieHeader(member.cookies),
      guarded: cookieHeader(cookies),
      ...(await addHeld(ctx, admin, password)),
    },
    links: {
      invite: `/invite?token=${token}`,
      reset: `/reset?token=${reset.token}`,
      email: await emailLink(ctx, admin.userId),
      alert: await alertLink(ctx, member.actor),
    },
  };
}
