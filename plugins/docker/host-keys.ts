/** Checks the host key of an SSH server against a fingerprint or a known_hosts file. Unknown keys are refused. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export class KnownHostsError extends Error {}

const same = (a: Buffer, b: Buffer) => a.length === b.length && timingSafeEqual(a, b);

/**
 * True when a known_hosts pattern matches this host: plain, `[host]:port`, or hashed (`|1|salt|hash`). Wildcards are
 * not supported.
 */
function names(pattern: string, host: string, port: number): boolean {
  const wanted = port === 22 ? host : `[${host}]:${port}`;
  const [, salt, hash] = /^\|1\|([^|]+)\|([^|]+)$/.exec(pattern) ?? [];
  if (salt && hash)
    return same(createHmac("sha1", Buffer.from(salt, "base64")).update(wanted).digest(), Buffer.from(hash, "base64"));
  return pattern.toLowerCase() === wanted.toLowerCase();
}

/** The keys of a host in a known_hosts text, without revoked keys. Certificate authorities are not supported. */
function knownKeys(text: string, host: string, port: number): Buffer[] {
  return text.split("\n").flatMap((line) => {
    const [patterns, type, key] = line.trim().split(/\s+/);
    if (!patterns || !type || !key || /^[#@]/.test(patterns)) return [];
    return patterns.split(",").some((pattern) => names(pattern, host, port)) ? [Buffer.from(key, "base64")] : [];
  });
}

/**
 * Creates the host key check of one host.
 * @returns a function that checks a key in wire format
 * @throws KnownHostsError when no key of the host is known
 */
export function hostKeyCheck(
  host: string,
  port: number,
  known: { fingerprint: string | null; knownHosts: string | null },
): (key: Buffer) => boolean {
  const keys = known.knownHosts === null ? [] : knownKeys(known.knownHosts, host, port);
  const fingerprint = known.fingerprint === null ? null : /^SHA256:([A-Za-z0-9+/]{43})=?$/.exec(known.fingerprint)?.[1];
  if (fingerprint === undefined) throw new KnownHostsError(`The host key of ${host} must have the form SHA256:….`);
  if (fingerprint === null && keys.length === 0)
    throw new KnownHostsError(`The known_hosts file has no key for ${host}.`);
  return (key) => {
    const shown = createHash("sha256").update(key).digest();
    if (fingerprint !== null && same(shown, Buffer.from(fingerprint, "base64"))) return true;
    return keys.some((one) => same(one, key));
  };
}
