/** The settings in effect, each with its value and where that came from; secrets are masked. */
import type { Config, ConfigSource } from "../../config.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { namesSecret } from "./plain-secrets.ts";

/** Addresses that may contain a secret. */
const ADDRESSES = ["database_url", "mail_url"];
const MASK = "••••••••";

export interface SettingRow {
  name: string;
  /** As text; null = not set. */
  value: string | null;
  source: ConfigSource;
  /** The environment variable that sets it. */
  variable: string;
}

/** A value as text, with everything secret inside it masked. */
function shown(name: string, value: unknown): string | null {
  if (value === null || value === undefined || value === "") return null;
  // A number is no secret, whatever its name says: `password_min_length`.
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (namesSecret(name) || ADDRESSES.includes(name)) return MASK;
  if (Array.isArray(value)) return value.length > 0 ? value.join(", ") : null;
  if (typeof value !== "object") return String(value);
  if (Object.keys(value).length === 0) return null;
  // Settings of providers by provider and field: a field that is named like a secret is one.
  return JSON.stringify(value, (key, inner: unknown) => (namesSecret(key) && typeof inner !== "object" ? MASK : inner));
}

/** Every setting. Administrators only. */
export function readSettings(ctx: Ctx, actor: Actor): SettingRow[] {
  requireAdmin(actor);
  const { sources, ...values } = ctx.config;
  return (Object.keys(values) as (keyof Omit<Config, "sources">)[]).map((name) => ({
    name,
    value: shown(name, values[name]),
    source: sources[name] ?? "default",
    variable: `FTL_${name.toUpperCase()}`,
  }));
}
