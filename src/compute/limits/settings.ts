/** Settings of bundled providers as administrators make them in the page: stored, checked, and used at once. */
import { and, eq, inArray, isNull } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { ConfigSource } from "../../config.ts";
import type { ConfigField, Provider, ProviderPlugin } from "../../contract/provider.ts";
import { type Actor, type Ctx, perContext, requireAdmin } from "../../ctx.ts";
import { secretSetting } from "../../db/schema/audit.ts";
import { providerOrphan } from "../../db/schema/hosts.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import { providerSecret, storedSecrets } from "../../db/secret-settings.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { within } from "../../lib/clock.ts";
import { createInTurn } from "../../lib/in-turn.ts";
import { seal } from "../../lib/sealed.ts";
import { plural } from "../../lib/text/format.ts";
import { formPlugin } from "../providers/plugins.ts";
import { type Compute, isCompute } from "../providers/registry.ts";
import { loadStoredProviders, NOTHING_STORED, type StoredProvider, storeProvider } from "../providers/stored.ts";
import { endPause } from "./pauses.ts";
import {
  type ProviderChange,
  type ProviderForm,
  problemText,
  type SettingProblem,
  type SettingValue,
} from "./settings-model.ts";

const CHECK_MS = 20_000;
const MAX_TEXT = 20_000;
/** Where secrets are sent to. */
const ADDRESS = /^(api_url|endpoint)$/;

/** One change after the other: each checks what the one before it left. */
const changes = perContext(() => createInTurn());

/** A bundled provider, and everything that its settings come from. */
interface Known {
  plugin: ProviderPlugin;
  compute: Compute;
  stored: StoredProvider;
  /** Values of secret fields that are stored encrypted. */
  secrets: Record<string, string>;
  /** Values of the configuration, which take precedence. */
  fixed: Readonly<Record<string, unknown>>;
}

/** @throws AppError `provider_not_found` for any but a bundled provider with a form */
async function find(ctx: Ctx, id: string): Promise<Known> {
  const plugin = await formPlugin(id);
  if (!plugin || !isCompute(ctx.compute)) throw notFound("provider", id.slice(0, 100));
  const names = plugin.config.filter(({ type }) => type === "secret").map(({ name }) => name);
  return {
    plugin,
    compute: ctx.compute,
    stored: (await loadStoredProviders(ctx.db)).get(id) ?? NOTHING_STORED,
    secrets: Object.fromEntries(
      names.flatMap((name): [string, string][] => {
        const value = storedSecrets(ctx).get(providerSecret(id, name));
        return value === undefined ? [] : [[name, value]];
      }),
    ),
    fixed: ctx.config.provider_settings[id] ?? {},
  };
}

/** Whether a provider is to be used, and where that is set. */
function useOf(ctx: Ctx, { plugin, stored }: Known): { enabled: boolean; source: ConfigSource | "default" | "page" } {
  const { providers: source } = ctx.config.sources;
  if (source) return { enabled: ctx.config.providers.includes(plugin.id), source };
  return { enabled: stored.enabled ?? false, source: stored.enabled === null ? "default" : "page" };
}

/** Every value in effect, by field: the configuration, then the page, then the manifest's default. */
function valuesOf({ plugin, stored, secrets, fixed }: Known): Record<string, unknown> {
  const given: Record<string, unknown> = { ...stored.values, ...secrets, ...fixed };
  return Object.fromEntries(plugin.config.map(({ name, default: standard }) => [name, given[name] ?? standard]));
}

const isEmpty = (value: unknown) => value === undefined || value === "";

function formOf(ctx: Ctx, known: Known): ProviderForm {
  const { plugin, compute, stored, secrets, fixed } = known;
  const use = useOf(ctx, known);
  const values = valuesOf(known);
  return {
    object: "provider_settings",
    provider: plugin.id,
    title: plugin.title,
    enabled: use.enabled,
    enabled_source: use.source,
    loaded: compute.get(plugin.id) !== null,
    fields: plugin.config.map(({ name, label, help, type, required, options, default: standard }) => {
      const isOwn = Object.hasOwn(stored.values, name) || Object.hasOwn(secrets, name);
      const isSet = !isEmpty(values[name]);
      const from = fixed[name] !== undefined ? (ctx.config.sources.provider_settings ?? "default") : null;
      return {
        name,
        label,
        help,
        type,
        required,
        options: options ? [...options] : null,
        default: standard ?? null,
        value: type === "secret" || !isSet ? null : (values[name] as SettingValue),
        is_set: isSet,
        source: from ?? (isOwn ? "page" : isSet ? "default" : null),
      };
    }),
  };
}

/** The settings of a bundled provider, without secrets. Administrators only. @throws AppError `provider_not_found` */
export async function readProviderSettings(ctx: Ctx, actor: Actor, id: string): Promise<ProviderForm> {
  requireAdmin(actor);
  return formOf(ctx, await find(ctx, id));
}

/** What is wrong with the value of a field by its type; null = nothing. */
function typeProblem(field: ConfigField, value: SettingValue): string | null {
  if (field.type === "integer") return Number.isSafeInteger(value) ? null : "must be a whole number";
  if (field.type === "boolean") return typeof value === "boolean" ? null : "must be true or false";
  if (typeof value !== "string") return "must be text";
  if (value.length > MAX_TEXT) return `must have at most ${MAX_TEXT} characters`;
  if (field.type !== "text" && /[\r\n]/.test(value)) return "must be one line";
  const parts = field.type === "list" ? value.split(",").map((part) => part.trim()) : [value];
  const { options } = field;
  if (options && parts.some((part) => part !== "" && !options.includes(part)))
    return `must be ${field.type === "list" ? "of " : "one of "}${options.join(", ")}`;
  return null;
}

/** @throws AppError `unknown_parameter`, `setting_fixed` */
function requireChangeable(ctx: Ctx, known: Known, change: ProviderChange): void {
  const { plugin, fixed } = known;
  for (const name of Object.keys(change.settings ?? {})) {
    const param = `settings.${name}`;
    if (!plugin.config.some((field) => field.name === name))
      throw new AppError("invalid", "unknown_parameter", `Unknown parameter: '${param}'.`, { param });
    if (fixed[name] !== undefined)
      throw new AppError(
        "conflict",
        "setting_fixed",
        `${name} of ${plugin.title} is set in the configuration (provider_settings). Remove it there to set it here.`,
        { param },
      );
  }
  const use = useOf(ctx, known);
  if (change.enabled === undefined || change.enabled === use.enabled) return;
  if (use.source !== "default" && use.source !== "page")
    throw new AppError(
      "conflict",
      "setting_fixed",
      `The configuration says which providers are in use (providers). Change it there, or remove it to switch ${plugin.title} here.`,
      { param: "enabled" },
    );
}

/** What is stored after a change, or what is wrong with it by field. */
function changed(known: Known, change: ProviderChange): { after: Known } | { problems: SettingProblem[] } {
  const { plugin } = known;
  const values = { ...known.stored.values };
  const secrets = { ...known.secrets };
  const problems: SettingProblem[] = [];
  for (const field of plugin.config) {
    const { name } = field;
    const value = change.settings?.[name];
    if (value === undefined) continue;
    const message = value === null ? null : typeProblem(field, value);
    if (message) problems.push({ field: name, message: `It ${message}.`, remedy: "" });
    else if (field.type === "secret") {
      if (isEmpty(value) || value === null) delete secrets[name];
      else secrets[name] = String(value);
    } else if (value === null) delete values[name];
    else values[name] = value;
  }
  const enabled = change.enabled ?? known.stored.enabled;
  const after = { ...known, stored: { enabled, values }, secrets };
  return problems.length > 0 ? { problems } : { after };
}

/** A stored secret goes to no other address than the one it was entered for. */
function exposed(before: Known, after: Known, change: ProviderChange): SettingProblem[] {
  const [was, is] = [valuesOf(before), valuesOf(after)];
  const { config } = after.plugin;
  const address = config.find(({ name }) => ADDRESS.test(name) && was[name] !== is[name]);
  if (!address) return [];
  return config
    .filter(({ name, type }) => type === "secret" && !isEmpty(is[name]) && !change.settings?.[name])
    .map(({ name, label }) => ({
      field: after.fixed[name] === undefined ? name : address.name,
      message: `"${label}" is for the address that was set before.`,
      remedy: `Enter it together with "${address.label}".`,
    }));
}

const problemAt = (field: string, error: unknown): SettingProblem => ({
  field,
  message: error instanceof Error ? error.message : String(error),
  remedy: "Check the settings, and that the vendor or the machine answers.",
});

/** Work that may still run at a provider. */
const liveAt = (db: Db, provider: string) =>
  db
    .select({ id: attempt.id, handle: attempt.handle })
    .from(attempt)
    .where(and(eq(attempt.provider, provider), isNull(attempt.goneAt)));

/** Why the settings cannot be used: the provider refuses them, or does not see with them what runs there. */
async function checked(ctx: Ctx, after: Known, provider: Provider): Promise<SettingProblem[]> {
  const valid = await within(CHECK_MS, provider.validate());
  if (!valid.ok) return valid.problems;
  const live = (await liveAt(ctx.db, after.plugin.id)).flatMap(({ handle }) => (handle ? [handle.key] : []));
  if (live.length === 0) return [];
  const seen = new Set((await within(CHECK_MS, provider.listOwned(ctx.installation))).map(({ handle }) => handle.key));
  const lost = live.filter((key) => !seen.has(key)).length;
  if (lost === 0) return [];
  const remedy = "Use the account, regions and addresses of what runs, or stop everything there first.";
  return [{ field: "connection", message: `These settings do not show ${plural(lost, "machine")} in use.`, remedy }];
}

/** Prepares the provider with the settings after a change. */
async function prepared(ctx: Ctx, after: Known): Promise<{ provider: Provider } | { problems: SettingProblem[] }> {
  const values = valuesOf(after);
  const missing = after.plugin.config
    .filter(({ name, required }) => required && isEmpty(values[name]))
    .map(({ name }) => ({ field: name, message: "It must be set.", remedy: "Enter it." }));
  if (missing.length > 0) return { problems: missing };
  try {
    const provider = after.compute.prepare(after.plugin, values);
    const problems = await checked(ctx, after, provider);
    return problems.length > 0 ? { problems } : { provider };
  } catch (error) {
    return { problems: [problemAt("connection", error)] };
  }
}

/** Takes a provider out of use. @returns puts it back @throws AppError `provider_in_use` while something is there */
async function switchOff(ctx: Ctx, { plugin, compute }: Known): Promise<() => void> {
  const putBack = compute.drop(plugin.id);
  const live = await liveAt(ctx.db, plugin.id);
  const orphans = await ctx.db
    .select({ key: providerOrphan.key })
    .from(providerOrphan)
    .where(and(eq(providerOrphan.provider, plugin.id), isNull(providerOrphan.removedAt)));
  if (live.length + orphans.length === 0) return putBack;
  putBack();
  throw new AppError(
    "conflict",
    "provider_in_use",
    `${plural(live.length + orphans.length, "machine")} at ${plugin.title} would be left alone. Stop everything there and wait until it is gone, then switch it off.`,
    { param: "enabled" },
  );
}

/** Stores what a change made of the settings, in one transaction with its entry in the audit log. */
async function store(ctx: Ctx, actor: Actor, before: Known, after: Known, change: ProviderChange): Promise<void> {
  const { id } = after.plugin;
  const gone = Object.keys(before.secrets).filter((name) => !Object.hasOwn(after.secrets, name));
  const fresh = Object.entries(after.secrets).filter(([name]) => change.settings?.[name]);
  await ctx.write(async (tx) => {
    await storeProvider(tx, id, after.stored);
    const updatedAt = ctx.clock.now();
    for (const [field, text] of fresh) {
      const name = providerSecret(id, field);
      const row = { value: seal(ctx.secret, sealedIn("setting", name), text), updatedAt };
      await tx
        .insert(secretSetting)
        .values({ name, ...row })
        .onConflictDoUpdate({ target: secretSetting.name, set: row });
    }
    if (gone.length > 0) {
      const names = gone.map((field) => providerSecret(id, field));
      await tx.delete(secretSetting).where(inArray(secretSetting.name, names));
    }
    await endPause(tx, id);
    const detail = { enabled: change.enabled, fields: Object.keys(change.settings ?? {}) };
    await audit(tx, ctx, actor, "provider.settings", id, detail);
  });
  const known = storedSecrets(ctx);
  for (const [field, text] of fresh) known.set(providerSecret(id, field), text);
  for (const field of gone) known.delete(providerSecret(id, field));
}

async function apply(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: ProviderChange,
): Promise<{ form: ProviderForm } | { problems: SettingProblem[] }> {
  const before = await find(ctx, id);
  requireChangeable(ctx, before, change);
  const made = changed(before, change);
  if ("problems" in made) return made;
  const { after } = made;
  const open = exposed(before, after, change);
  if (open.length > 0) return { problems: open };
  if (useOf(ctx, after).enabled) {
    const ready = await prepared(ctx, after);
    if ("problems" in ready) return ready;
    await store(ctx, actor, before, after, change);
    after.compute.adopt(after.plugin, ready.provider, valuesOf(after));
  } else {
    const putBack = useOf(ctx, before).enabled ? await switchOff(ctx, after) : () => {};
    try {
      await store(ctx, actor, before, after, change);
    } catch (error) {
      putBack();
      throw error;
    }
  }
  ctx.bus.emit("hosts.changed", { ids: [] });
  return { form: formOf(ctx, after) };
}

/**
 * Changes the settings of a bundled provider and uses them at once; running work continues. When the provider refuses
 * them, or would not see what runs there, nothing changes. Ends the pause of a provider that refused a request.
 * Administrators only; audited by the names of the fields.
 * @returns the settings, or what is wrong by field
 * @throws AppError `provider_not_found`, `unknown_parameter`, `setting_fixed`, `provider_in_use`
 */
export async function changeProviderSettings(ctx: Ctx, actor: Actor, id: string, change: ProviderChange) {
  requireAdmin(actor);
  return changes(ctx)("settings", () => apply(ctx, actor, id, change));
}

/**
 * The same for clients.
 * @throws AppError also `invalid_value` with the first problem
 */
export async function saveProviderSettings(
  ctx: Ctx,
  actor: Actor,
  id: string,
  change: ProviderChange,
): Promise<ProviderForm> {
  const answer = await changeProviderSettings(ctx, actor, id, change);
  if ("form" in answer) return answer.form;
  const [first] = answer.problems;
  const text = answer.problems.map((one) => `'${one.field}': ${problemText(one)}`);
  throw new AppError("invalid", "invalid_value", `The settings are not changed. ${text.join(" ")}`, {
    param: `settings.${first?.field}`,
  });
}
