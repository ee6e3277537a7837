/** The token with which a provider provisions: created, replaced, removed, and checked. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, type Source, systemActor } from "../../ctx.ts";
import { scimConnection, scimGroup, scimUser } from "../../db/schema/sso.ts";
import { AppError, notFound } from "../../errors.ts";
import { newSecret, sha256Hex } from "../../lib/ids.ts";
import { noteRefusal } from "../audit/refusals.ts";
import { audit } from "../audit/service.ts";
import type { Provider } from "../sso/model.ts";
import { findProvider, getProvider } from "../sso/providers.ts";

const TOKEN = /^scim-[0-9a-z]{32}$/;
const USED_MS = 60_000;
const HINT_LENGTH = 4;

/** A provider that provisions, as the pages show it. Times in milliseconds since 1970. */
export interface ConnectionRow {
  provider: string;
  tokenHint: string;
  createdAt: number;
  lastUsedAt: number | null;
}

/** Whose users and groups a request reads and changes. */
export interface Caller {
  provider: Provider;
  source: Source;
}

/** The server on behalf of a provider, in an organization. */
export const actorFor = ({ source }: Caller, org: string): Actor => ({ ...systemActor(org), source });

/** The token of a provider, without its text; null without one. @throws AppError `sso_provider_not_found` */
export async function getConnection(ctx: Ctx, actor: Actor, provider: string): Promise<ConnectionRow | null> {
  await getProvider(ctx, actor, provider);
  const [row] = await ctx.db.select().from(scimConnection).where(eq(scimConnection.provider, provider)).limit(1);
  return row ?? null;
}

/**
 * Creates the token of a provider. The previous one stops working at once.
 * @returns the token, which is not stored
 * @throws AppError `sso_provider_not_found`
 */
export async function createToken(
  ctx: Ctx,
  actor: Actor,
  provider: string,
): Promise<{ token: string; row: ConnectionRow }> {
  const before = await getConnection(ctx, actor, provider);
  const token = newSecret("scim-");
  const row = {
    provider,
    tokenHash: sha256Hex(token),
    tokenHint: token.slice(-HINT_LENGTH),
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
    lastUsedAt: null,
  };
  await ctx.write(async (tx) => {
    await tx.insert(scimConnection).values(row).onConflictDoUpdate({ target: scimConnection.provider, set: row });
    await audit(tx, ctx, actor, before ? "scim.rotate" : "scim.create", provider, { hint: row.tokenHint });
  });
  return { token, row };
}

/**
 * Ends provisioning: the token stops working, and the pushed groups no longer count. Accounts stay as they are.
 * @throws AppError `sso_provider_not_found`, `scim_connection_not_found`
 */
export async function removeConnection(ctx: Ctx, actor: Actor, provider: string): Promise<void> {
  if (!(await getConnection(ctx, actor, provider))) throw notFound("scim_connection", provider);
  await ctx.write(async (tx) => {
    await tx.delete(scimConnection).where(eq(scimConnection.provider, provider));
    await tx.delete(scimGroup).where(eq(scimGroup.provider, provider));
    await tx.delete(scimUser).where(eq(scimUser.provider, provider));
    await audit(tx, ctx, actor, "scim.remove", provider);
  });
}

/** @throws AppError 401; the refusal is recorded */
async function refuse(ctx: Ctx, source: Source): Promise<never> {
  await noteRefusal(ctx, { action: "key.refused", account: null, target: "none", source, reason: "scim_token" });
  throw new AppError(
    "unauthenticated",
    "invalid_token",
    "The token is missing or wrong. An administrator creates one on the page of the identity provider.",
  );
}

/**
 * The provider behind a token.
 * @param authorization header of the request
 * @throws AppError `invalid_token`
 */
export async function callerOf(ctx: Ctx, authorization: string | null, source: Source): Promise<Caller> {
  const token = /^bearer +(\S+)$/i.exec(authorization ?? "")?.[1] ?? "";
  if (!TOKEN.test(token)) return refuse(ctx, source);
  const [row] = await ctx.db
    .select()
    .from(scimConnection)
    .where(eq(scimConnection.tokenHash, sha256Hex(token)))
    .limit(1);
  const provider = row ? await findProvider(ctx, row.provider) : null;
  if (!row || !provider) return refuse(ctx, source);
  const now = ctx.clock.now();
  if ((row.lastUsedAt ?? 0) <= now - USED_MS)
    await ctx.write(
      (tx) => tx.update(scimConnection).set({ lastUsedAt: now }).where(eq(scimConnection.provider, row.provider)),
      { relaxed: true },
    );
  return { provider, source };
}
