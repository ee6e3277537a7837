/**
 * `plugin new` and `plugin check`: create a provider plugin from the template, and test one against the provider
 * contract.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { assetPath, listAssets } from "../assets.ts";
import type { ProviderPlugin } from "../contract/provider.ts";
import { AppError } from "../errors.ts";
import { EXIT, UsageError, type Verb } from "./command.ts";

/**
 * Files of the contract with the types of a plugin; `plugin new` copies them, so that the plugin has no other
 * dependency.
 */
const CONTRACT = ["provider.ts", "spec.ts"];

export const pluginNew: Verb = {
  name: "plugin new",
  summary: "Creates a provider plugin from the template.",
  words: "ID [DIR]",
  options: {},
  notes: `ID is the provider id in jobs: lower-case letters, digits and dashes. DIR defaults to ./ID.
Then: finetune-lab plugin check DIR, and docs/plugin-authors.md.`,
  async run(args) {
    const [id, target = id] = args.words;
    if (!id || !target || !/^[a-z][a-z0-9-]{0,31}$/.test(id))
      throw new UsageError("Give the id of the plugin: 1 to 32 of a-z, 0-9 and -, a letter first.");
    const directory = resolve(target);
    if (existsSync(directory) && readdirSync(directory).length > 0)
      throw new AppError("conflict", "directory_not_empty", `${directory} is not empty.`);
    const write = (name: string, text: string) => {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    };
    for (const name of listAssets("plugins/template")) {
      const text = readFileSync(join(assetPath("plugins/template"), name), "utf8");
      write(name, text.replaceAll("../../src/contract/", "./contract/").replaceAll("my-provider", id));
    }
    for (const name of CONTRACT)
      write(join("contract", name), readFileSync(join(assetPath("src/contract"), name), "utf8"));
    process.stdout.write(`${directory}\nCheck it with: finetune-lab plugin check ${target}\n`);
    return EXIT.ok;
  },
};

interface Subject {
  plugin: ProviderPlugin;
  config: Record<string, unknown>;
}

/** The embedded provider, a bundled one by id, or the plugin in a folder. */
async function subjects(name = "process", config: Record<string, unknown> = {}): Promise<Subject[]> {
  const { BUNDLED } = await import("../../plugins/index.ts");
  const load = Object.hasOwn(BUNDLED, name) ? BUNDLED[name] : undefined;
  if (load) return [{ plugin: await load(), config }];
  const folder = resolve(name);
  if (!existsSync(folder)) throw new UsageError(`No bundled provider and no folder is called "${name}".`);
  const { loadPluginFolder } = await import("../compute/providers/plugins.ts");
  const answer = await loadPluginFolder(folder, basename(folder));
  if ("problem" in answer) {
    const { stage, message, remedy } = answer.problem;
    throw new AppError("invalid", "plugin_not_loaded", `${stage}: ${message}. ${remedy}`);
  }
  return [answer.loaded];
}

function readConfig(text: string | undefined): Record<string, unknown> {
  try {
    return JSON.parse(text ?? "{}") as Record<string, unknown>;
  } catch {
    throw new UsageError("--config is not JSON.");
  }
}

export const pluginCheck: Verb = {
  name: "plugin check",
  summary: "Runs the cases of the provider contract on a plugin and prints a table.",
  words: "[PROVIDER | DIR]",
  options: {
    config: { value: "JSON", help: 'settings of a bundled provider, such as {"hosts": "unix:///run/docker.sock"}' },
    gpus: { value: "N", help: "GPUs to request (default 1 for rented machines, else 0)" },
  },
  notes: `Without a name the embedded provider is tested. A plugin in DIR uses its own config.json, so a cloud provider is really called.
Exit code 1 when a case fails.`,
  async run(args) {
    const { CASES } = await import("../contract/conformance.ts");
    const { conform } = await import("../compute/providers/conformance-run.ts");
    const width = Math.max(...CASES.map((one) => one.name.length));
    const say = (line: string) => process.stdout.write(`${line.trimEnd()}\n`);
    let failures = 0;
    const gpus = args.text("gpus");
    if (gpus !== undefined && !/^\d{1,3}$/.test(gpus)) throw new UsageError("--gpus must be a whole number.");
    for (const { plugin, config } of await subjects(args.words[0], readConfig(args.text("config")))) {
      const dataDir = mkdtempSync(join(tmpdir(), "ftl-conformance-"));
      say(`\n${plugin.title} (${plugin.id}), provider contract ${plugin.contract}\n`);
      try {
        for await (const result of conform(plugin, config, dataDir, gpus === undefined ? undefined : Number(gpus))) {
          if (result.outcome === "failed") failures++;
          const mark = { passed: "ok  ", failed: "FAIL", skipped: "skip" }[result.outcome];
          say(`${mark}  ${result.name.padEnd(width)}  ${String(result.ms).padStart(6)} ms  ${result.detail}`);
        }
      } finally {
        rmSync(dataDir, { recursive: true, force: true });
      }
    }
    say(failures > 0 ? `\n${failures} failed` : "\nall passed");
    return failures > 0 ? EXIT.failed : EXIT.ok;
  },
};
