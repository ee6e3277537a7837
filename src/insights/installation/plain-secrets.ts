/** Secrets that somebody wrote in plain text into a configuration file. */
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A field that is named like a secret is one; one that names the file of a secret is not. */
export const namesSecret = (field: string) => /token|secret|password|key$/i.test(field) && !/_file$/i.test(field);

/** A secret in a file: its place in the JSON, and the file. */
export interface PlainSecret {
  /** `hub_token`, or `provider_settings.docker.password`. */
  name: string;
  path: string;
  /** Steps from the top of the file. */
  at: string[];
  /** The secret: of an address, its password. */
  value: string;
  /** What stays in the file: the address without its password. */
  rest?: string;
}

function read(path: string): Record<string, unknown> {
  try {
    const value: unknown = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : {};
  } catch {
    return {};
  }
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/** The password of an address such as `smtp://user:password@host`, and the address without it; null without one. */
function passwordIn(value: string): { value: string; rest: string } | null {
  const url = URL.parse(value);
  if (!url?.password) return null;
  const { password } = url;
  url.password = "";
  try {
    return { value: decodeURIComponent(password), rest: url.href };
  } catch {
    // A percent sign that encodes nothing.
    return { value: password, rest: url.href };
  }
}

/** Whether the value of a setting is a secret, or an address with a password. */
export const holdsSecret = (name: string, value: unknown): boolean =>
  isText(value) && (namesSecret(name) || passwordIn(value) !== null);

function inConfig(path: string): PlainSecret[] {
  const found: PlainSecret[] = [];
  const file = read(path);
  for (const [name, value] of Object.entries(file))
    if (isText(value) && holdsSecret(name, value))
      found.push({ name, path, at: [name], value, ...(namesSecret(name) ? {} : passwordIn(value)) });
  const providers = file.provider_settings;
  if (typeof providers !== "object" || providers === null) return found;
  for (const [id, fields] of Object.entries(providers))
    for (const [field, value] of Object.entries((fields ?? {}) as Record<string, unknown>))
      if (isText(value) && namesSecret(field))
        found.push({ name: `provider_settings.${id}.${field}`, path, at: ["provider_settings", id, field], value });
  return found;
}

/** Every secret in plain text: in `config.json` of the data directory, and beside plugins in it. */
export function plainSecrets(dataDir: string): PlainSecret[] {
  const folder = join(dataDir, "plugins");
  const plugins = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  return [
    ...inConfig(join(dataDir, "config.json")),
    ...plugins.flatMap((entry) => {
      const path = join(folder, entry.name, "config.json");
      if (!entry.isDirectory()) return [];
      return Object.entries(read(path))
        .filter((pair): pair is [string, string] => isText(pair[1]) && namesSecret(pair[0]))
        .map(([field, value]) => ({ name: `plugins/${entry.name}: ${field}`, path, at: [field], value }));
    }),
  ];
}

/** Takes a secret out of a JSON file, and keeps the rest and the permissions. A crash leaves the file as it was. */
export function removeFromFile({ path, at, rest }: Pick<PlainSecret, "path" | "at" | "rest">): void {
  const whole = read(path);
  let inner: Record<string, unknown> = whole;
  for (const step of at.slice(0, -1)) inner = inner[step] as Record<string, unknown>;
  const last = at.at(-1) ?? "";
  if (rest === undefined) delete inner[last];
  else inner[last] = rest;
  const next = `${path}.tmp`;
  writeFileSync(next, `${JSON.stringify(whole, null, 2)}\n`, { mode: statSync(path).mode & 0o777 });
  renameSync(next, path);
}
