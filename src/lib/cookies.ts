/** Names, reading and writing of cookies. */

/** The full name: with https, the prefix makes browsers accept the cookie only from this host over TLS. */
export function cookieName(name: string, secure: boolean): string {
  return secure ? `__Host-${name}` : name;
}

/** The value of the cookie `name` in a Cookie header; null when absent. */
export function readCookie(header: string | null, name: string): string | null {
  for (const part of (header ?? "").split(";")) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return null;
}

interface CookieOptions {
  /** True when browsers reach the site over https. */
  secure: boolean;
  /** Seconds until it expires; 0 removes it. */
  maxAgeS: number;
}

/** A `Set-Cookie` value for the whole site, hidden from scripts. `name` is without prefix. */
export function writeCookie(name: string, value: string, { secure, maxAgeS }: CookieOptions): string {
  return `${cookieName(name, secure)}=${value}; Path=/; Max-Age=${maxAgeS}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}
