/** What every rented machine carries: its name, whom it belongs to, and the variables its trainer starts with. */
import type { LaunchContext, LaunchSpec, ProviderHost } from "../../src/contract/provider.ts";

/** A launch key of the contract; throws `invalid` for any other text. */
export function checkKey(host: ProviderHost, key: string): void {
  if (!/^[a-z0-9-]{1,64}$/.test(key)) throw host.error("invalid", "A launch key is 1 to 64 of a-z, 0-9 and -.");
}

/** The name of the machine of a launch. The same key always has the same name. */
export const rentedName = (installation: string, key: string) => `ftl-${installation}-${key}`;

/**
 * `rentedName` in at most `longest` characters: the end is replaced by a hash of the whole, so that two keys never
 * share a name.
 */
export function shortName(installation: string, key: string, longest: number): string {
  const name = rentedName(installation, key);
  if (name.length <= longest) return name;
  const hash = new Bun.CryptoHasher("sha256").update(name).digest("hex").slice(0, 12);
  return `${name.slice(0, longest - 13)}-${hash}`;
}

/** Where the trainer's image has its scratch directory. */
const SCRATCH = "/scratch";

/**
 * The variables of a rented machine's trainer. `FTL_DEADLINE` (seconds since 1970) is when it ends itself,
 * `FTL_INSTALLATION`, `FTL_KEY` and `FTL_LABELS` say whose it is. The token is a bootstrap token, valid once.
 */
export function rentedEnv(host: ProviderHost, spec: LaunchSpec, context: LaunchContext): Record<string, string> {
  return {
    ...spec.env,
    FTL_HOME_URL: context.callHome.url,
    FTL_ATTEMPT_TOKEN: context.callHome.token,
    ...(context.callHome.fingerprint ? { FTL_HOME_FINGERPRINT: context.callHome.fingerprint } : {}),
    ...(spec.argv ? { FTL_ARGV: JSON.stringify(spec.argv) } : {}),
    FTL_SCRATCH: SCRATCH,
    FTL_DEADLINE: String(Math.ceil(context.deadline / 1000)),
    FTL_INSTALLATION: host.installation,
    FTL_KEY: context.key,
    FTL_LABELS: JSON.stringify(context.labels),
  };
}

/** The labels from a text that `JSON.stringify` wrote; empty when it is anything else. */
export function readLabels(text: string | undefined): Record<string, string> {
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    if (typeof value !== "object" || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter(([, one]) => typeof one === "string"));
  } catch {
    return {};
  }
}

/** An image reference pinned by digest, such as `registry.example.com/trainer@sha256:…`. */
export const PINNED_IMAGE = /^[a-z0-9][A-Za-z0-9._/:-]{0,200}@sha256:[0-9a-f]{64}$/;
