/**
 * Loads and checks provider plugins: the bundled ones, and folders in the data directory. A plugin that fails is
 * reported with the stage, and does not affect the others.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as v from "valibot";
import { BUNDLED } from "../../../plugins/index.ts";
import { PROVIDER_CONTRACT, type ProviderPlugin } from "../../contract/provider.ts";

/** The stage at which loading failed. */
type Stage = "folder" | "import" | "manifest" | "contract" | "config" | "create" | "validate";

export interface PluginProblem {
  /** Folder name of the plugin, or its id once that is known. */
  plugin: string;
  stage: Stage;
  message: string;
  remedy: string;
}

interface LoadedPlugin {
  plugin: ProviderPlugin;
  bundled: boolean;
  config: Record<string, unknown>;
}

const Manifest = v.object({
  id: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,31}$/, "1 to 32 of a-z, 0-9 and -, a letter first")),
  title: v.pipe(v.string(), v.nonEmpty()),
  contract: v.number(),
  kind: v.picklist(["container", "machine", "process"]),
  capabilities: v.object({
    logs: v.boolean(),
    gpus: v.boolean(),
    survivesServer: v.boolean(),
    local: v.boolean(),
  }),
  config: v.array(
    v.object({
      name: v.pipe(v.string(), v.regex(/^[a-z][a-z0-9_]*$/)),
      label: v.string(),
      help: v.string(),
      type: v.picklist(["string", "integer", "boolean", "secret"]),
      required: v.boolean(),
      default: v.optional(v.union([v.string(), v.number(), v.boolean()])),
    }),
  ),
  create: v.function(),
});

class StageError extends Error {
  constructor(
    readonly stage: Stage,
    message: string,
    readonly remedy: string,
  ) {
    super(message);
  }
}

const text = (error: unknown) => (error instanceof Error ? error.message : String(error));

function checkManifest(value: unknown): ProviderPlugin {
  const parsed = v.safeParse(Manifest, value);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw new StageError(
      "manifest",
      `${v.getDotPath(issue) ?? "default export"}: ${issue.message}`,
      "Export the manifest as default; see plugins/template.",
    );
  }
  if (parsed.output.contract !== PROVIDER_CONTRACT)
    throw new StageError(
      "contract",
      `it uses provider contract ${parsed.output.contract}, but this server supports ${PROVIDER_CONTRACT}`,
      "Install a release of the plugin for this version of Fine-Tune Lab.",
    );
  return value as ProviderPlugin;
}

/** Reads `config.json` in the plugin folder, with defaults from the manifest. Wrong types are refused by name. */
function readConfig(folder: string, plugin: ProviderPlugin): Record<string, unknown> {
  const path = join(folder, "config.json");
  let given: Record<string, unknown> = {};
  try {
    if (existsSync(path)) given = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  } catch {
    throw new StageError("config", `${path} is not valid JSON`, "Fix the file.");
  }
  return checkConfig(plugin, given, path);
}

/** The given values with the manifest's defaults. `path` names their source in messages. */
function checkConfig(plugin: ProviderPlugin, given: Record<string, unknown>, path: string): Record<string, unknown> {
  const config: Record<string, unknown> = {};
  for (const field of plugin.config) {
    const value = given[field.name] ?? field.default;
    if (value === undefined && field.required)
      throw new StageError("config", `"${field.name}" is missing`, `Set it in ${path}: ${field.help}`);
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
 * Loads one plugin folder with `index.ts` or `index.js` and an optional `config.json`. The module runs with the
 * server's permissions, so only an administrator may add folders.
 * @throws StageError
 */
async function loadFolder(folder: string): Promise<LoadedPlugin> {
  const entry = ["index.ts", "index.js"].map((name) => join(folder, name)).find((path) => existsSync(path));
  if (!entry) throw new StageError("folder", "the folder has no index.ts or index.js", "Copy the whole plugin folder.");
  let module: { default?: unknown };
  try {
    module = (await import(pathToFileURL(entry).href)) as { default?: unknown };
  } catch (error) {
    throw new StageError(
      "import",
      text(error),
      "A plugin can import only types of the contract, node: modules and its own files.",
    );
  }
  const plugin = checkManifest(module.default);
  return { plugin, bundled: false, config: readConfig(folder, plugin) };
}

/** Loads a plugin folder from any path. Returns a failure as a problem. */
export async function loadPluginFolder(
  folder: string,
  name: string,
): Promise<{ loaded: LoadedPlugin } | { problem: PluginProblem }> {
  try {
    return { loaded: await loadFolder(folder) };
  } catch (error) {
    const known = error instanceof StageError ? error : new StageError("import", text(error), "See the server log.");
    return { problem: { plugin: name, stage: known.stage, message: known.message, remedy: known.remedy } };
  }
}

/** The bundled plugins to use, in order of preference, and their settings by id. */
interface BundledUse {
  providers: readonly string[];
  provider_settings: Readonly<Record<string, Record<string, unknown>>>;
}

/** A bundled plugin with its settings. @throws StageError */
function loadBundled(id: string, use: BundledUse): LoadedPlugin {
  const plugin = BUNDLED.find((one) => one.id === id);
  const all = BUNDLED.map((one) => one.id).join(", ");
  if (!plugin)
    throw new StageError(
      "manifest",
      "there is no bundled provider with this name",
      `The setting providers accepts: ${all}.`,
    );
  const config = checkConfig(plugin, use.provider_settings[id] ?? {}, "the setting provider_settings");
  return { plugin: checkManifest(plugin), bundled: true, config };
}

/**
 * Loads the bundled plugins in use, and the plugins in `folder` by name. A plugin cannot reuse the id of a bundled one.
 */
export async function loadPlugins(
  folder: string,
  use: BundledUse,
): Promise<{ loaded: LoadedPlugin[]; problems: PluginProblem[] }> {
  const loaded: LoadedPlugin[] = [];
  const problems: PluginProblem[] = [];
  for (const id of new Set(use.providers)) {
    try {
      loaded.push(loadBundled(id, use));
    } catch (error) {
      if (!(error instanceof StageError)) throw error;
      problems.push({ plugin: id, stage: error.stage, message: error.message, remedy: error.remedy });
    }
  }
  const taken = new Set(BUNDLED.map((plugin) => plugin.id));
  const names = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
  for (const name of names
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort()) {
    if (name.startsWith(".")) continue;
    const answer = await loadPluginFolder(join(folder, name), name);
    if ("problem" in answer) problems.push(answer.problem);
    else if (taken.has(answer.loaded.plugin.id))
      problems.push({
        plugin: name,
        stage: "manifest",
        message: `the id "${answer.loaded.plugin.id}" is already in use`,
        remedy: "Give the plugin a unique id.",
      });
    else {
      taken.add(answer.loaded.plugin.id);
      loaded.push(answer.loaded);
    }
  }
  return { loaded, problems };
}
