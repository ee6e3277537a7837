/** Secret settings of the database as part of the configuration: flags, environment and files have precedence. */
import type { Config } from "../config.ts";
import { type Ctx, perContext } from "../ctx.ts";
import { unseal } from "../lib/sealed.ts";
import { secretSetting } from "./schema/audit.ts";
import { sealedIn } from "./sealed-columns.ts";

/** Settings whose value may be stored encrypted; secrets of providers are named by {@link providerSecret}. */
export const SECRET_SETTINGS = [
  "hub_token",
  "mail_password",
  "metrics_token",
  "s3_secret_key",
  "stripe_secret_key",
  "stripe_webhook_secret",
] as const;
type Name = (typeof SECRET_SETTINGS)[number];

/** The name of a secret field of a provider. */
export const providerSecret = (id: string, field: string) => `provider.${id}.${field}`;

/** The stored values in the clear, by name. A change is seen by {@link withSecretSettings} at once. */
export const storedSecrets = perContext(() => new Map<string, string>());

/** Reads the stored values. One that the secret does not open counts as not set. */
export async function loadSecretSettings(ctx: Ctx): Promise<Map<string, string>> {
  const values = storedSecrets(ctx);
  for (const { name, value } of await ctx.db.select().from(secretSetting))
    try {
      values.set(name, unseal(ctx.secret, sealedIn("setting", name), value));
    } catch (cause) {
      ctx.log("error", "an encrypted setting does not open; enter it again", { setting: name, cause });
    }
  return values;
}

/** The configuration with the stored values where nothing else is given. Providers get theirs when they are loaded. */
export function withSecretSettings(config: Config, stored: ReadonlyMap<string, string>): Config {
  // A value of the page may come from an earlier context.
  const isGiven = (name: Name) => (config.sources[name] ?? "page") !== "page";
  const inUse = (name: Name) => (isGiven(name) ? config[name] : (stored.get(name) ?? null));
  return Object.freeze({
    ...config,
    get hub_token() {
      return inUse("hub_token");
    },
    get mail_password() {
      return inUse("mail_password");
    },
    get metrics_token() {
      return inUse("metrics_token");
    },
    get s3_secret_key() {
      return inUse("s3_secret_key");
    },
    get stripe_secret_key() {
      return inUse("stripe_secret_key");
    },
    get stripe_webhook_secret() {
      return inUse("stripe_webhook_secret");
    },
    get sources() {
      const others = Object.fromEntries(
        Object.entries(config.sources).filter(([name]) => !SECRET_SETTINGS.some((each) => each === name)),
      );
      const own = SECRET_SETTINGS.flatMap((name) => {
        const source = isGiven(name) ? config.sources[name] : stored.has(name) ? "page" : undefined;
        return source ? [[name, source] as const] : [];
      });
      return { ...others, ...Object.fromEntries(own) };
    },
  });
}
