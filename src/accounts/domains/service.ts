/** Which identity provider an e-mail address belongs to, and whether it may still sign in with a password. */
import { and, asc, eq, isNotNull } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { account, user } from "../../db/schema/auth.ts";
import { ssoDomain, ssoProvider } from "../../db/schema/sso.ts";
import { AppError } from "../../errors.ts";

/** The part after the @, in lower case. */
export const domainOf = (email: string) => email.slice(email.lastIndexOf("@") + 1).toLowerCase();

/** An identity provider that is switched on, as the sign-in page needs it. */
interface DomainProvider {
  id: string;
  name: string;
  enforced: boolean;
}

/** The provider of an address; null when its domain belongs to none. */
export async function providerOfEmail(ctx: Ctx, email: string): Promise<DomainProvider | null> {
  const [row] = await ctx.db
    .select({ id: ssoProvider.id, name: ssoProvider.name, enforced: ssoProvider.enforced })
    .from(ssoDomain)
    .innerJoin(ssoProvider, eq(ssoProvider.id, ssoDomain.provider))
    .where(and(eq(ssoDomain.domain, domainOf(email)), eq(ssoProvider.enabled, true)))
    .limit(1);
  return row ?? null;
}

/**
 * The administrator who keeps the password when every administrator's domain is enforced: the first one created. Null
 * when another administrator can sign in with a password anyway.
 */
async function breakGlass(ctx: Ctx): Promise<string | null> {
  const admins = await ctx.db
    .select({ email: user.email })
    .from(user)
    .innerJoin(account, and(eq(account.userId, user.id), eq(account.providerId, "credential")))
    .where(and(eq(user.role, "admin"), eq(user.banned, false), isNotNull(account.password)))
    .orderBy(asc(user.createdAt), asc(user.id))
    .limit(500);
  for (const { email } of admins) if (!(await providerOfEmail(ctx, email))?.enforced) return null;
  return admins[0]?.email ?? null;
}

/**
 * The provider that an address must use instead of a password; null when a password may be used.
 * @param email in lower case
 */
export async function enforcedProvider(ctx: Ctx, email: string): Promise<DomainProvider | null> {
  const provider = await providerOfEmail(ctx, email);
  if (!provider?.enforced) return null;
  return (await breakGlass(ctx)) === email ? null : provider;
}

/** The refusal of a password where single sign-on is enforced. */
export function ssoRequired(email: string, provider: Pick<DomainProvider, "name">): AppError {
  return new AppError(
    "forbidden",
    "sso_required",
    `Addresses of ${domainOf(email)} sign in with ${provider.name}. Use “Continue with ${provider.name}” on the sign-in page.`,
    { param: "email" },
  );
}

/**
 * Refuses what people do on their own with an address whose provider is enforced: sign up, reset a password, change the
 * address. The answer is the same for every address of the domain.
 * @throws AppError `sso_required`
 */
export async function requireOtherDomain(ctx: Ctx, email: string): Promise<void> {
  const provider = await providerOfEmail(ctx, email);
  if (provider?.enforced) throw ssoRequired(email, provider);
}

/**
 * Refuses a password for an address whose provider is enforced, but for the administrator who keeps one.
 * @throws AppError `sso_required`
 */
export async function requirePasswordAllowed(ctx: Ctx, email: string): Promise<void> {
  const provider = await enforcedProvider(ctx, email.trim().toLowerCase());
  if (provider) throw ssoRequired(email.trim().toLowerCase(), provider);
}
