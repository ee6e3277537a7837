/**
 * Finds and checks provider plugins: the bundled ones and folders in the data directory. One that fails says at which
 * stage; the rest go on.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as v from "valibot";
import { BUNDLED } from "../../../plugins/index.ts";
import {
  ADAPTED_CONTRACTS,
  type ConfigField,
  PROVIDER_CONTRACT,
  type ProviderPlugin,
} from "../../contract/provider.ts";
import { providerSecret } from "../../db/secret-settings.ts";
import { upgradePlugin } from "./contract-v1.ts";
import type { StoredProvider } from "./stored.ts";

/** Where loading stopped. */
type Stage = "folder" | "import" | "manifest" | "contract" | "config" | "create" | "validate";

export interface PluginProblem {
  /** Folder name of the plugin, or its id once that is known. */
  plugin: string;
  stage: Stage;
  message: string;
  remedy: string;
  /** The plugin whose settings are not complete. */
  incomplete?: Incomplete;
}

/** A plugin that is not loaded for lack of a setting. */
interface Incomplete {
  id: string;
  fields: ConfigField[];
  folder: string | null;
}

interface LoadedPlugin {
  plugin: ProviderPlugin;
  bundled: boolean;
  /** Its folder; null for a bundled one. */
  folder: string | null;
  config: Record<string, unknown>;
}

/** The flags of contract 1, and those that contract 2 added. */
const FLAGS_V1 = { logs: v.boolean(), gpus: v.boolean(), survivesServer: v.boolean(), local: v.boolean() };
const FLAGS = {
  ...FLAGS_V1,
  priced: v.boolean(),
  spot: v.boolean(),
  vendorDeadline: v.boolean(),
  multiNode: v.boolean(),
};

const Manifest = v.object({
  id: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, "1 to 32 of a-z, 0-9 and -, a letter first")),
  title: v.pipe(v.string(), v.nonEmpty()),
  contract: v.number(),
  kind: v.picklist(["container", "machine", "process"]),
  capabilities: v.object(FLAGS_V1),
  config: v.array(
    v.object({
      name: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9_]*$/)),
      label: v.string(),
      help: v.string(),
      type: v.picklist(["string", "integer", "boolean", "secret", "list", "text"]),
      required: v.boolean(),
      default: v.optional(v.union([v.string(), v.number(), v.boolean()])),
      options: v.optional(v.array(v.string())),
    }),
  ),
  create: v.function(),
});

class StageError extends Error {
  constructor(
    readonly stage: Stage,
    message: string,
    readonly remedy: string,
    readonly incomplete?: Incomplete,
  ) {
    super(message);
  }
}

const text = (error: unknown) => (error instanceof Error ? error.message : String(error));

function refuseManifest(issue: v.BaseIssue<unknown>, where: string): never {
  throw new StageError(
    "manifest",
    `${[where, v.getDotPath(issue)].filter(Boolean).join(".") || "default export"}: ${issue.message}`,
    "Export the manifest as default, in the form of plugins/template.",
  );
}

/** The plugin of a manifest, in the current contract. @throws StageError */
function checkManifest(value: unknown): ProviderPlugin {
  const parsed = v.safeParse(Manifest, value);
  if (!parsed.success) refuseManifest(parsed.issues[0], "");
  const { contract } = parsed.output;
  if (ADAPTED_CONTRACTS.includes(contract)) return upgradePlugin(value as Parameters<typeof upgradePlugin>[0]);
  if (contract !== PROVIDER_CONTRACT)
    throw new StageError(
      "contract",
      `it speaks provider contract ${contract}; this host speaks ${[...ADAPTED_CONTRACTS, PROVIDER_CONTRACT].join(" and ")}`,
      "Install the release of the plugin that fits this version of Fine-Tune Lab.",
    );
  const flags = v.safeParse(v.object(FLAGS), (value as ProviderPlugin).capabilities);
  if (!flags.success) refuseManifest(flags.issues[0], "capabilities");
  return value as ProviderPlugin;
}

/** Secret settings that are stored encrypted, by name. */
type Secrets = ReadonlyMap<string, string>;

/** The stored secrets of a plugin, used where nothing else is given. */
function storedFor(plugin: ProviderPlugin, secrets: Secrets): Record<string, string> {
  const own = plugin.config.filter(({ type }) => type === "secret");
  return Object.fromEntries(
    own.flatMap(({ name }): [string, string][] => {
      const value = secrets.get(providerSecret(plugin.id, name));
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** `config.json` beside the plugin, with the manifest's defaults; values of the wrong type are refused by name. */
function readConfig(folder: string, plugin: ProviderPlugin, secrets: Secrets): Record<string, unknown> {
  const path = join(folder, "config.json");
  let given: Record<string, unknown> = {};
  try {
    if (existsSync(path)) given = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  } catch {
    throw new StageError("config", `${path} is not valid JSON`, "Fix the file.");
  }
  return checkConfig(plugin, { ...storedFor(plugin, secrets), ...given }, path, folder);
}

/** The given values with the manifest's defaults; `path` is where a person finds them. */
function checkConfig(
  plugin: ProviderPlugin,
  given: Record<string, unknown>,
  path: string,
  folder: string | null,
): Record<string, unknown> {
  const config: Record<string, unknown> = {};
  for (const field of plugin.config) {
    const value = given[field.name] ?? field.default;
    if (value === undefined && field.required)
      throw new StageError("config", `"${field.name}" is missing`, `Set it in ${path}: ${field.help}`, {
        id: plugin.id,
        fields: plugin.config,
        folder,
      });
    const type = field.type === "integer" ? "number" : field.type === "boolean" ? "boolean" : "string";
    const asType: string = typeof value;
    if (value !== undefined && asType !== type)
      throw new StageError("config", `"${field.name}" must be a ${type}`, `Correct it in ${path}.`);
    config[field.name] = value;
  }
  const unknown = Object.keys(given).find((name) => !plugin.config.some((field) => field.name === name));
  if (unknown) throw new StageError("config", `"${unknown}" is unknown`, `Remove it from ${path}.`);
  return config;
}

/**
 * Loads one plugin folder: `index.ts` or `index.js` inside, optional `config.json`. Throws StageError.
 * The module runs with the server's rights: only an administrator may put folders there.
 */
async function loadFolder(folder: string, secrets: Secrets): Promise<LoadedPlugin> {
  const plugin = await importPlugin(folder);
  return { plugin, bundled: false, folder, config: readConfig(folder, plugin, secrets) };
}

/** The plugin of a folder, without its settings. @throws StageError */
async function importPlugin(folder: string): Promise<ProviderPlugin> {
  const entry = ["index.ts", "index.js"].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!entry) throw new StageError("folder", "there is no index.ts in it", "Copy the whole plugin folder.");
  let module: { default?: unknown };
  try {
    module = (await import(pathToFileURL(entry).href)) as { default?: unknown };
  } catch (error) {
    throw new StageError(
      "import",
      text(error),
      "A plugin imports types of the contract, node: modules and its own files.",
    );
  }
  return checkManifest(module.default);
}

/**
 * As `loadFolder`, for one folder anywhere on disk; a failure comes back as its problem.
 * @param settings used in place of `config.json` and stored secrets
 */
export async function loadPluginFolder(
  folder: string,
  name: string,
  secrets: Secrets = new Map(),
  settings?: (plugin: ProviderPlugin) => Record<string, unknown>,
): Promise<{ loaded: LoadedPlugin } | { problem: PluginProblem }> {
  try {
    if (!settings) return { loaded: await loadFolder(folder, secrets) };
    const plugin = await importPlugin(folder);
    const config = checkConfig(plugin, settings(plugin), "the settings of the check", folder);
    return { loaded: { plugin, bundled: false, folder, config } };
  } catch (error) {
    const known = error instanceof StageError ? error : new StageError("import", text(error), "See the log.");
    const { stage, message, remedy, incomplete } = known;
    return { problem: { plugin: name, stage, message, remedy, ...(incomplete ? { incomplete } : {}) } };
  }
}

/** Which bundled plugins are used, the preferred first, and their settings by id. */
interface BundledUse {
  providers: readonly string[];
  /** The configuration sets `providers`: what was switched on in the page does not count. */
  isListFixed: boolean;
  provider_settings: Readonly<Record<string, Record<string, unknown>>>;
  secrets: Secrets;
  /** What administrators set in the page, used where the configuration has nothing. */
  stored: ReadonlyMap<string, StoredProvider>;
}

/** Processes on this machine have no form and no switch: their state does not outlive their provider. */
const NO_FORM = "process";

/** The bundled plugins whose settings can be made in the page. */
export const FORM_PLUGINS: readonly string[] = Object.keys(BUNDLED).filter((id) => id !== NO_FORM);

/** A bundled plugin whose settings can be made in the page; null for any other. */
export async function formPlugin(id: string): Promise<ProviderPlugin | null> {
  return (FORM_PLUGINS.includes(id) && (await BUNDLED[id]?.())) || null;
}

/** What of the stored values the plugin still has. */
function storedValues(plugin: ProviderPlugin, stored: StoredProvider | undefined): Record<string, unknown> {
  const known = Object.entries(stored?.values ?? {}).filter(([name]) =>
    plugin.config.some((field) => field.name === name && field.type !== "secret"),
  );
  return Object.fromEntries(known);
}

/** The ids of the bundled plugins in use: those that the configuration names, then those that were switched on. */
const inUse = ({ providers, isListFixed, stored }: BundledUse) =>
  new Set([
    ...providers,
    ...(isListFixed ? [] : FORM_PLUGINS.filter((id) => stored.get(id)?.enabled && !providers.includes(id))),
  ]);

/** A bundled plugin with its settings. @throws StageError */
async function loadBundled(id: string, use: BundledUse): Promise<LoadedPlugin> {
  const all = Object.keys(BUNDLED).join(", ");
  const load = Object.hasOwn(BUNDLED, id) ? BUNDLED[id] : undefined;
  if (!load) throw new StageError("manifest", "no such provider is bundled", `The setting providers may name: ${all}.`);
  const plugin = await load();
  const given = {
    ...storedValues(plugin, use.stored.get(id)),
    ...storedFor(plugin, use.secrets),
    ...use.provider_settings[id],
  };
  const config = checkConfig(plugin, given, "the setting provider_settings", null);
  return { plugin: checkManifest(plugin), bundled: true, folder: null, config };
}

/**
 * The bundled plugins in use and those below `folder`, in order of name; a third party cannot take a bundled plugin's
 * id.
 */
export async function loadPlugins(
  folder: string,
  use: BundledUse,
): Promise<{ loaded: LoadedPlugin[]; problems: PluginProblem[] }> {
  const loaded: LoadedPlugin[] = [];
  const problems: PluginProblem[] = [];
  for (const id of inUse(use)) {
    try {
      loaded.push(await loadBundled(id, use));
    } catch (error) {
      if (!(error instanceof StageError)) throw error;
      const { stage, message, remedy, incomplete } = error;
      problems.push({ plugin: id, stage, message, remedy, ...(incomplete ? { incomplete } : {}) });
    }
  }
  const taken = new Set(Object.keys(BUNDLED));
  const names = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  for (const name of names
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()) {
    if (name.startsWith(".")) continue;
    const answer = await loadPluginFolder(join(folder, name), name, use.secrets);
    if ("problem" in answer) problems.push(answer.problem);
    else if (taken.has(answer.loaded.plugin.id))
      problems.push({
        plugin: name,
        stage: "manifest",
        message: `the id "${answer.loaded.plugin.id}" is taken`,
        remedy: "Give the plugin an id of its own.",
      });
    else {
      taken.add(answer.loaded.plugin.id);
      loaded.push(answer.loaded);
    }
  }
  return { loaded, problems };
}
