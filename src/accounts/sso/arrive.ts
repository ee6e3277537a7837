/** From a person at an identity provider to a session here: account, organization and role, second factor. */
import { and, eq, isNull } from "drizzle-orm";
import * as v from "valibot";
import { type Ctx, systemActor } from "../../ctx.ts";
import { isPerson } from "../../db/accounts.ts";
import { account, apiKey, member, user } from "../../db/schema/auth.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { withoutHidden } from "../../lib/text/names.ts";
import type { InstallationRole } from "../../roles.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { audit } from "../audit/service.ts";
import { deviceCookie, knownDevice } from "../auth/devices.ts";
import { announceSecurity } from "../auth/events.ts";
import { Email } from "../auth/model.ts";
import { insertUser } from "../auth/service.ts";
import { endSessions, forgetSessions, openSession } from "../auth/sessions.ts";
import { type Client, signedIn } from "../auth/sign-in.ts";
import { domainOf } from "../domains/service.ts";
import { dropAllFactors } from "../factors/factors.ts";
import { beginSecondStep } from "../factors/second-step.ts";
import { suspendedError } from "../holds/service.ts";
import { forgetKeys } from "../keys/cache.ts";
import type { Identity } from "./identity.ts";
import type { Provider } from "./model.ts";
import { defaultPlace, mappedPlace, moveTo, type Place, provisionedGroups } from "./place.ts";
import { accountKey } from "./providers.ts";

/** An account with its place. */
interface Found {
  id: string;
  org: string;
  email: string;
  role: InstallationRole;
  teamRole: string | null;
  banned: boolean;
  emailVerified: boolean;
  twoFactorEnabled: boolean;
}

const columns = {
  id: user.id,
  org: member.organizationId,
  email: user.email,
  role: user.role,
  teamRole: member.role,
  banned: user.banned,
  emailVerified: user.emailVerified,
  twoFactorEnabled: user.twoFactorEnabled,
};

async function linkedTo(ctx: Ctx, provider: Provider, subject: string): Promise<Found | null> {
  const [row] = await ctx.db
    .select(columns)
    .from(account)
    .innerJoin(user, eq(user.id, account.userId))
    .leftJoin(member, eq(member.userId, user.id))
    .where(and(eq(account.providerId, accountKey(provider.id)), eq(account.accountId, subject)))
    .limit(1);
  return row ? { ...row, org: row.org ?? "" } : null;
}

async function withAddress(ctx: Ctx, email: string): Promise<Found | null> {
  const [row] = await ctx.db
    .select(columns)
    .from(user)
    .leftJoin(member, eq(member.userId, user.id))
    .where(and(eq(user.email, email), isPerson))
    .limit(1);
  return row ? { ...row, org: row.org ?? "" } : null;
}

/** Whether an account belongs to a person at a provider already. */
async function isLinked(ctx: Ctx, provider: Provider, userId: string): Promise<boolean> {
  const [row] = await ctx.db
    .select({ id: account.id })
    .from(account)
    .where(and(eq(account.providerId, accountKey(provider.id)), eq(account.userId, userId)))
    .limit(1);
  return row !== undefined;
}

const refused = (code: string, message: string) => new AppError("forbidden", code, message);

/**
 * The address of a person, when it belongs to the provider.
 * @throws AppError `sso_email_missing`, `sso_email_domain`
 */
function emailOf(provider: Provider, identity: Identity): string {
  const parsed = v.safeParse(Email, identity.email);
  if (!parsed.success)
    throw refused(
      "sso_email_missing",
      `${provider.name} sends no e-mail address. An administrator adds the claim there.`,
    );
  if (!provider.domains.includes(domainOf(parsed.output)))
    throw refused(
      "sso_email_domain",
      `${provider.name} may not sign in addresses of ${domainOf(parsed.output)}. An administrator adds the domain to the provider.`,
    );
  return parsed.output;
}

const accountRow = (ctx: Ctx, provider: Provider, subject: string, userId: string) => {
  const now = new Date(ctx.clock.now());
  const providerId = accountKey(provider.id);
  return { id: randomChars(32), accountId: subject, providerId, userId, createdAt: now, updatedAt: now };
};

/**
 * Links an account that exists. Nobody had verified the address of an unverified one: whoever signed up with it loses
 * the password, keys, second factors and sessions.
 */
async function link(ctx: Ctx, provider: Provider, identity: Identity, found: Found, client: Client): Promise<void> {
  await ctx.write(async (tx) => {
    await tx.insert(account).values(accountRow(ctx, provider, identity.subject, found.id));
    if (!found.emailVerified) {
      await tx.delete(account).where(and(eq(account.userId, found.id), eq(account.providerId, "credential")));
      await dropAllFactors(tx, found.id);
      await tx
        .update(apiKey)
        .set({ revokedAt: ctx.clock.now() })
        .where(and(eq(apiKey.userId, found.id), isNull(apiKey.revokedAt)));
      await tx.update(user).set({ emailVerified: true }).where(eq(user.id, found.id));
      await endSessions(tx, found.id);
    }
    const detail = { provider: provider.id, email: found.email };
    await audit(tx, ctx, { ...systemActor(found.org), source: client }, "user.sso_link", found.id, detail);
  });
  forgetKeys(ctx);
  forgetSessions(ctx);
  ctx.bus.emit("session.ended", { userId: found.id });
  announceSecurity(ctx, { userId: found.id, org: found.org }, "sso.linked", client, provider.name);
}

/** Creates the account of somebody who signs in for the first time. */
async function create(ctx: Ctx, provider: Provider, identity: Identity, email: string, place: Place): Promise<Found> {
  const made = await ctx.write(async (tx) => {
    const name = withoutHidden(identity.name ?? "").slice(0, 200);
    const row = await insertUser(tx, ctx, { email, name, ...place, passwordHash: null });
    await tx.insert(account).values(accountRow(ctx, provider, identity.subject, row.id));
    const detail = { email, role: place.role, provider: provider.id };
    await audit(tx, ctx, systemActor(row.org), "user.create", row.id, detail);
    return row;
  });
  return {
    id: made.id,
    org: made.org,
    email,
    role: place.role,
    teamRole: place.teamRole,
    banned: false,
    emailVerified: true,
    twoFactorEnabled: false,
  };
}

/**
 * The account of a person, created or linked where that is allowed, in the organization that the groups say.
 * @throws AppError `sso_email_missing`, `sso_email_domain`, `sso_email_unverified`, `sso_address_taken`,
 * `sso_no_group`, `account_suspended`
 */
async function accountOf(ctx: Ctx, provider: Provider, identity: Identity, client: Client): Promise<Found> {
  const email = emailOf(provider, identity);
  const linked = await linkedTo(ctx, provider, identity.subject);
  const found = linked ?? (await withAddress(ctx, email));
  if (!linked && !identity.emailVerified && !provider.trustEmail)
    throw refused(
      "sso_email_unverified",
      `${provider.name} has not verified the address ${email}, so it cannot be used here. An administrator verifies it there, or sets that addresses of the provider count as verified.`,
    );
  if (found?.banned) throw await suspendedError(ctx, found.id);
  // Providers give the address of somebody who left to somebody else.
  if (found && !linked && (await isLinked(ctx, provider, found.id)))
    throw refused(
      "sso_address_taken",
      `The account of ${email} belongs to another person at ${provider.name}. Ask an administrator of this installation to change its address or to remove it.`,
    );
  const pushed = found ? await provisionedGroups(ctx.db, provider.id, found.id) : [];
  const mapped = mappedPlace(provider, [...identity.groups, ...pushed]);
  // Who was removed from the team gets in again by a group only.
  if (found && !found.org && !mapped)
    throw refused("sso_no_group", "Your account is in no team. Ask an administrator of this installation.");
  const place = mapped ?? defaultPlace(provider);
  if (!place && (!found || provider.groups.length > 0))
    throw refused(
      "sso_no_group",
      `None of your groups at ${provider.name} has access here. Ask an administrator of this installation.`,
    );
  if (!found) return create(ctx, provider, identity, email, place as Place);
  if (!linked) await link(ctx, provider, identity, found, client);
  const now = found.emailVerified || linked ? found : { ...found, emailVerified: true, twoFactorEnabled: false };
  const moved = place !== null && provider.groups.length > 0 && (await moveTo(ctx, now, place));
  return moved ? { ...now, ...place } : now;
}

async function recordRefusal(ctx: Ctx, provider: Provider, identity: Identity, client: Client, error: AppError) {
  const found = await linkedTo(ctx, provider, identity.subject);
  await noteRefusal(ctx, {
    action: "session.fail",
    account: found && { userId: found.id, org: found.org },
    target: found?.id ?? "none",
    source: client,
    reason: error.code,
    detail: { provider: provider.id, email: v.is(Email, identity.email) ? identity.email : null },
  });
}

/**
 * Signs a person in, or asks for the second factor where the provider's sign-in does not count as one.
 * @returns `pending`: the second factor is still asked for; `cookies` for the browser
 * @throws AppError those of `accountOf`
 */
export async function signInWith(
  ctx: Ctx,
  provider: Provider,
  identity: Identity,
  client: Client,
): Promise<{ pending: boolean; cookies: string[] }> {
  let found: Found;
  try {
    found = await accountOf(ctx, provider, identity, client);
  } catch (error) {
    if (error instanceof AppError) await recordRefusal(ctx, provider, identity, client, error);
    throw error;
  }
  if (found.twoFactorEnabled && !provider.secondFactor)
    return { pending: true, cookies: await beginSecondStep(ctx, found.id) };
  const device = knownDevice(ctx, client.cookies, found.id);
  const method = accountKey(provider.id);
  const cookies = await openSession(ctx, found.id, client, { method, twoFactors: provider.secondFactor });
  const { amr, acr } = identity;
  const how = { method: "sso", provider: provider.id, amr, acr, second_factor: provider.secondFactor };
  await signedIn(ctx, found, client, { device, cookies, how });
  return { pending: false, cookies: [...cookies, deviceCookie(ctx, found.id, device)] };
}

/** Whether a person at a provider is this user. */
export async function isLinkedTo(ctx: Ctx, provider: Provider, subject: string, userId: string): Promise<boolean> {
  const found = await linkedTo(ctx, provider, subject);
  return found?.id === userId && !found.banned;
}
