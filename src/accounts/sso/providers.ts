/** Identity providers of the installation: list, create, change, remove. Administrators only. */
import { and, asc, eq, inArray, ne } from "drizzle-orm";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { account, organization } from "../../db/schema/auth.ts";
import { ssoDomain, ssoGroup, ssoProvider } from "../../db/schema/sso.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId, sha256Hex } from "../../lib/ids.ts";
import { unseal } from "../../lib/sealed.ts";
import { teamRoleOf } from "../../roles.ts";
import { audit } from "../audit/service.ts";
import type { ChangeProvider, CreateProvider, OidcProvider, Provider } from "./model.ts";
import { changedSettings, newSettings } from "./settings.ts";

const MAX_PROVIDERS = 50;

/** The `provider_id` of accounts that a provider created or was linked to. */
export const accountKey = (provider: string) => `sso:${provider}`;

async function read(db: Db, id?: string): Promise<Provider[]> {
  const rows = await db
    .select()
    .from(ssoProvider)
    .where(id === undefined ? undefined : eq(ssoProvider.id, id))
    .orderBy(asc(ssoProvider.createdAt), asc(ssoProvider.id))
    .limit(MAX_PROVIDERS);
  const ids = rows.map((row) => row.id);
  const domains = await db.select().from(ssoDomain).where(inArray(ssoDomain.provider, ids)).orderBy(ssoDomain.domain);
  const groups = await db.select().from(ssoGroup).where(inArray(ssoGroup.provider, ids)).orderBy(ssoGroup.position);
  return rows.map((row) => ({
    ...(row as Omit<typeof row, "settings">),
    // `type` says which of the two.
    ...({ type: row.type, settings: JSON.parse(row.settings) } as Pick<OidcProvider, "type" | "settings">),
    domains: domains.filter((each) => each.provider === row.id).map((each) => each.domain),
    groups: groups
      .filter((each) => each.provider === row.id)
      .map(({ name, org, teamRole, role }) => ({
        group: name,
        organization: org,
        organization_role: teamRoleOf(teamRole),
        role,
      })),
  }));
}

/** The providers of the sign-in page, in order. */
export async function signInProviders(ctx: Ctx): Promise<{ id: string; name: string; type: Provider["type"] }[]> {
  return ctx.db
    .select({ id: ssoProvider.id, name: ssoProvider.name, type: ssoProvider.type })
    .from(ssoProvider)
    .where(eq(ssoProvider.enabled, true))
    .orderBy(asc(ssoProvider.createdAt), asc(ssoProvider.id))
    .limit(MAX_PROVIDERS);
}

/** A provider, switched on or not; null without one. */
export async function findProvider(ctx: Ctx, id: string): Promise<Provider | null> {
  const [found] = await read(ctx.db, id);
  return found ?? null;
}

/** A provider that is switched on, for signing in. @throws AppError `sso_provider_not_found` */
export async function openProvider(ctx: Ctx, id: string): Promise<Provider> {
  const found = await findProvider(ctx, id);
  if (!found?.enabled) throw notFound("sso_provider", id);
  return found;
}

/** The client secret, or the key of this server for SAML, in plain text; null without one. */
export const secretOf = (ctx: Ctx, provider: Provider) =>
  provider.secret === null ? null : unseal(ctx.secret, sealedIn("sso", provider.id), provider.secret);

export async function listProviders(ctx: Ctx, actor: Actor): Promise<Provider[]> {
  requireAdmin(actor);
  return read(ctx.db);
}

/** @throws AppError `sso_provider_not_found` */
export async function getProvider(ctx: Ctx, actor: Actor, id: string): Promise<Provider> {
  requireAdmin(actor);
  const found = await findProvider(ctx, id);
  if (!found) throw notFound("sso_provider", id);
  return found;
}

/** Replaces domains and groups. @throws AppError `domain_taken`, `organization_not_found` */
async function writeParts(tx: Db, id: string, given: Pick<ChangeProvider, "domains" | "groups">): Promise<void> {
  if (given.domains) {
    const domains = [...new Set(given.domains)];
    const [taken] = await tx
      .select()
      .from(ssoDomain)
      .where(and(inArray(ssoDomain.domain, domains), ne(ssoDomain.provider, id)))
      .limit(1);
    if (taken)
      throw new AppError("conflict", "domain_taken", `${taken.domain} belongs to another provider already.`, {
        param: "domains",
      });
    await tx.delete(ssoDomain).where(eq(ssoDomain.provider, id));
    await tx.insert(ssoDomain).values(domains.map((domain) => ({ domain, provider: id })));
  }
  if (given.groups) {
    await tx.delete(ssoGroup).where(eq(ssoGroup.provider, id));
    const rows = given.groups.map(({ group, organization: org, organization_role: teamRole, role }, position) => ({
      provider: id,
      position,
      name: group,
      org,
      teamRole,
      role,
    }));
    for (const row of rows) await requireOrganization(tx, row.org, "groups");
    if (rows.length > 0) await tx.insert(ssoGroup).values(rows);
  }
}

async function requireOrganization(tx: Db, id: string | null | undefined, param: string): Promise<void> {
  if (!id) return;
  const [found] = await tx.select({ id: organization.id }).from(organization).where(eq(organization.id, id)).limit(1);
  if (!found) throw notFound("organization", id).withParam(param, "invalid");
}

/** What the audit log keeps: everything but the secret, and pasted metadata by its hash. */
const recorded = ({ client_secret: secret, metadata_xml: xml, ...rest }: ChangeProvider) => ({
  ...rest,
  ...(secret ? { client_secret: "replaced" } : {}),
  ...(xml ? { metadata_xml: `sha256 ${sha256Hex(xml)}` } : {}),
});

/**
 * Adds a provider.
 * @throws AppError `address_refused`, `offline`, `domain_taken`, `organization_not_found`, `too_many_providers`
 */
export async function createProvider(ctx: Ctx, actor: Actor, given: CreateProvider): Promise<Provider> {
  requireAdmin(actor);
  const id = newId("ssoProvider");
  const now = ctx.clock.now();
  const { settings, secret } = await newSettings(ctx, id, given);
  await ctx.write(async (tx) => {
    if ((await tx.select({ id: ssoProvider.id }).from(ssoProvider).limit(MAX_PROVIDERS)).length >= MAX_PROVIDERS)
      throw new AppError("conflict", "too_many_providers", `There are ${MAX_PROVIDERS} providers already.`);
    await requireOrganization(tx, given.default_organization, "default_organization");
    await tx.insert(ssoProvider).values({
      id,
      type: given.type,
      name: given.name,
      enabled: given.enabled,
      enforced: given.enforced,
      secondFactor: given.second_factor,
      trustEmail: given.trust_email,
      defaultOrg: given.default_organization,
      settings: JSON.stringify(settings),
      secret,
      createdAt: now,
      updatedAt: now,
    });
    await writeParts(tx, id, given);
    const { type, ...rest } = given;
    await audit(tx, ctx, actor, "sso.create", id, { type, ...recorded(rest) });
  });
  return getProvider(ctx, actor, id);
}

/**
 * Changes a provider; absent fields stay. Open sessions stay as well.
 * @throws AppError `sso_provider_not_found`, `secret_again`, and those of `createProvider`
 */
export async function changeProvider(ctx: Ctx, actor: Actor, id: string, given: ChangeProvider): Promise<Provider> {
  const before = await getProvider(ctx, actor, id);
  const { settings, secret } = await changedSettings(ctx, before, given);
  await ctx.write(async (tx) => {
    await requireOrganization(tx, given.default_organization, "default_organization");
    await tx
      .update(ssoProvider)
      .set({
        name: given.name,
        enabled: given.enabled,
        enforced: given.enforced,
        secondFactor: given.second_factor,
        trustEmail: given.trust_email,
        defaultOrg: given.default_organization,
        settings: JSON.stringify(settings),
        secret,
        updatedAt: Math.max(ctx.clock.now(), before.updatedAt + 1),
      })
      .where(eq(ssoProvider.id, id));
    await writeParts(tx, id, given);
    await audit(tx, ctx, actor, "sso.change", id, recorded(given));
  });
  return getProvider(ctx, actor, id);
}

/**
 * Removes a provider. Its accounts stay and can get a password with a reset link.
 * @throws AppError `sso_provider_not_found`
 */
export async function removeProvider(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const { name } = await getProvider(ctx, actor, id);
  await ctx.write(async (tx) => {
    await tx.delete(account).where(eq(account.providerId, accountKey(id)));
    await tx.delete(ssoProvider).where(eq(ssoProvider.id, id));
    await audit(tx, ctx, actor, "sso.remove", id, { name });
  });
}
