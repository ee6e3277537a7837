/** Who a provider says has signed in, read from the claims of OpenID Connect. */

/** A person at a provider. */
export interface Identity {
  /** The provider's id of the person, which never changes. */
  subject: string;
  email: string | null;
  /** The provider vouches for the address. */
  emailVerified: boolean;
  name: string | null;
  groups: string[];
  /** How the person proved who they are: `pwd`, `otp`, `mfa` … */
  amr: string[];
  acr: string | null;
  /** When, in seconds since 1970; null when the provider does not say. */
  authTime: number | null;
}

type Claims = Record<string, unknown>;

const MAX_GROUPS = 1000;
const isObject = (value: unknown): value is Claims => typeof value === "object" && value !== null;
const text = (value: unknown) => (typeof value === "string" && value.trim() !== "" ? value.trim() : null);
const texts = (value: unknown): string[] => {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((each): each is string => typeof each === "string").slice(0, MAX_GROUPS);
};

/** A claim by its name, or by a path such as `realm_access.roles`. */
function claimAt(claims: Claims, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  return path
    .split(".")
    .reduce<unknown>((at, key) => (isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined), claims);
}

/** True when the claims lack the address or the groups, which the provider may have at its UserInfo endpoint. */
export const isIncomplete = (claims: Claims, groupsClaim: string) =>
  claims.email === undefined || claimAt(claims, groupsClaim) === undefined;

/** @param claims of the ID token, with those of UserInfo that it lacks */
export function identityOf(claims: Claims, groupsClaim: string): Identity {
  return {
    subject: String(claims.sub),
    email: text(claims.email)?.toLowerCase() ?? null,
    // Some providers send the word.
    emailVerified: claims.email_verified === true || claims.email_verified === "true",
    name: text(claims.name),
    groups: texts(claimAt(claims, groupsClaim)),
    amr: texts(claims.amr).slice(0, 20),
    acr: text(claims.acr),
    authTime: typeof claims.auth_time === "number" ? claims.auth_time : null,
  };
}
