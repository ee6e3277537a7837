/**
 * `plugin new` and `plugin check`: create a provider plugin from a template, and test one against the provider
 * contract.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { assetPath } from "../assets.ts";
import type { CaseResult } from "../contract/conformance.ts";
import type { ProviderPlugin } from "../contract/provider.ts";
import { AppError } from "../errors.ts";
import { type Args, EXIT, UsageError, type Verb } from "./command.ts";

/** Files of the contract with the types of a plugin; `plugin new` copies them: the plugin needs nothing else. */
const CONTRACT = ["provider.ts", "spec.ts", "data-settings.ts"];
const TEMPLATES = ["container", "machine"];

export const pluginNew: Verb = {
  name: "plugin new",
  summary: "Creates a provider plugin from a template.",
  words: "ID [DIR]",
  options: {
    template: {
      value: "container|machine",
      help: "container (default): the vendor runs an image; machine: it runs a script at the first boot",
    },
  },
  notes: `ID is the provider id in jobs: lower-case letters, digits and dashes. DIR defaults to ./ID.
Then: finetune-lab plugin check DIR, and docs/plugin-authors.md.`,
  async run(args) {
    const [id, target = id] = args.words;
    const template = args.text("template") ?? "container";
    if (!id || !target || !/^[a-z][a-z0-9-]{0,31}$/.test(id))
      throw new UsageError("Give the id of the plugin: 1 to 32 of a-z, 0-9 and -, a letter first.");
    if (!TEMPLATES.includes(template)) throw new UsageError(`--template is one of ${TEMPLATES.join(", ")}.`);
    const directory = resolve(target);
    if (existsSync(directory) && readdirSync(directory).length > 0)
      throw new AppError("conflict", "directory_not_empty", `${directory} is not empty.`);
    const copy = (from: string, to: string) => {
      const text = readFileSync(assetPath(from), "utf8");
      const own = text.replaceAll("../../src/contract/", "./contract/").replaceAll("my-provider", id);
      mkdirSync(dirname(join(directory, to)), { recursive: true });
      writeFileSync(join(directory, to), own);
    };
    copy(`plugins/template/${template}.ts`, "index.ts");
    copy("plugins/template/provider.ts", "provider.ts");
    for (const name of CONTRACT) copy(`src/contract/${name}`, join("contract", name));
    process.stdout.write(`${directory}\nCheck it with: finetune-lab plugin check ${target}\n`);
    return EXIT.ok;
  },
};

interface Subject {
  plugin: ProviderPlugin;
  config: Record<string, unknown>;
  close?: () => Promise<void>;
}

function readConfig(text: string | undefined, where: string): Record<string, unknown> {
  try {
    return JSON.parse(text ?? "{}") as Record<string, unknown>;
  } catch {
    throw new UsageError(`${where} is not JSON.`);
  }
}

/** The plugin in a folder with its config.json, or with the settings of a fake when its machines cost money. */
async function folderSubject(folder: string, args: Args): Promise<Subject> {
  const { loadPluginFolder } = await import("../compute/providers/plugins.ts");
  const { fakeSettings } = await import("../compute/providers/plugin-check.ts");
  const { startFakeVendor } = await import("../compute/providers/fake-vendor.ts");
  let close = async () => {};
  const path = join(folder, "config.json");
  const stored = () => readConfig(existsSync(path) ? readFileSync(path, "utf8") : undefined, path);
  const answer = await loadPluginFolder(folder, basename(folder), undefined, (plugin) => {
    if (args.on("live") || !plugin.capabilities.priced) return stored();
    const own = args.text("api-url");
    const fake = own === undefined ? startFakeVendor() : { url: own, key: "fake-key", stop: async () => {} };
    close = fake.stop;
    // Settings that are not secret stay as they are.
    return fakeSettings(plugin, fake, stored());
  });
  if ("problem" in answer) {
    const { stage, message, remedy } = answer.problem;
    throw new AppError("invalid", "plugin_not_loaded", `${stage}: ${message}. ${remedy}`);
  }
  return { ...answer.loaded, close };
}

/** The embedded provider, a bundled one by id, or the plugin in a folder. */
async function subjectOf(args: Args): Promise<Subject> {
  const [name = "process"] = args.words;
  const { BUNDLED } = await import("../../plugins/index.ts");
  const load = Object.hasOwn(BUNDLED, name) ? BUNDLED[name] : undefined;
  if (load) return { plugin: await load(), config: readConfig(args.text("config"), "--config") };
  const folder = resolve(name);
  if (!existsSync(folder)) throw new UsageError(`No bundled provider and no folder is called "${name}".`);
  return folderSubject(folder, args);
}

function costOf(args: Args): number | undefined {
  const text = args.text("max-cost");
  if (!args.on("live")) {
    if (text !== undefined) throw new UsageError("--max-cost goes with --live.");
    return undefined;
  }
  if (text === undefined || !/^\d{1,6}(\.\d{1,2})?$/.test(text))
    throw new UsageError("--live rents real machines: say what they may cost in USD with --max-cost, such as 2.50.");
  return Number(text);
}

const say = (line: string) => process.stdout.write(`${line.trimEnd()}\n`);

/** Live cases; Ctrl-C ends them, and what they rented. */
async function runLive(subject: Subject, dataDir: string, maxUsd: number, gpus: number | undefined, show: Show) {
  const { checkLive } = await import("../compute/providers/plugin-check.ts");
  const stop = new AbortController();
  const onSignal = () => {
    say("Stopping: everything that was rented is ended first.");
    stop.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    const report = await checkLive(subject.plugin, subject.config, dataDir, {
      maxUsd,
      gpus,
      signal: stop.signal,
      say: show,
    });
    say(`\nEstimated ${report.estimateUsd.toFixed(2)} USD, spent about ${report.spentUsd.toFixed(2)} USD.`);
    for (const left of report.left) say(`LEFT AT THE VENDOR: ${left}. End it in the vendor's console.`);
    return report.left.length === 0 && !stop.signal.aborted;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

type Show = (result: CaseResult) => void;

export const pluginCheck: Verb = {
  name: "plugin check",
  summary: "Runs the cases of the provider contract on a plugin and prints a table.",
  words: "[PROVIDER | DIR]",
  options: {
    config: { value: "JSON", help: 'settings of a bundled provider, such as {"hosts": "unix:///run/docker.sock"}' },
    gpus: { value: "N", help: "GPUs to request (default 1 for rented machines, else 0)" },
    "api-url": { value: "URL", help: "your own fake of the vendor, on this machine; its API key is fake-key" },
    live: { help: "rents machines at the vendor of config.json, which costs money" },
    "max-cost": { value: "USD", help: "what --live may cost; it refuses to start when more is expected" },
  },
  notes: `Without a name the embedded provider is tested. A plugin for rented machines in DIR is tested offline, against a
fake vendor with the API of the templates; api_url and secrets of its config.json are not used.
Exit code 1 when a case fails.`,
  async run(args) {
    const { casesFor } = await import("../contract/conformance.ts");
    const { conform } = await import("../compute/providers/conformance-run.ts");
    const { loopbackOnly } = await import("../compute/providers/plugin-check.ts");
    const maxUsd = costOf(args);
    const wanted = args.text("gpus");
    if (wanted !== undefined && !/^\d{1,3}$/.test(wanted)) throw new UsageError("--gpus must be a whole number.");
    const gpus = wanted === undefined ? undefined : Number(wanted);
    const subject = await subjectOf(args);
    const { plugin, config } = subject;
    // Cases break requests and rent dozens of machines: never at a real vendor.
    const send = plugin.capabilities.priced ? { send: loopbackOnly } : {};
    if (maxUsd !== undefined && !plugin.capabilities.priced) throw new UsageError(`${plugin.title} costs nothing.`);
    const width = Math.max(...casesFor(plugin).map((one) => one.name.length));
    let failures = 0;
    const show: Show = ({ name, outcome, ms, detail }) => {
      if (outcome === "failed") failures++;
      const mark = { passed: "ok  ", failed: "FAIL", skipped: "skip" }[outcome];
      say(`${mark}  ${name.padEnd(width)}  ${String(ms).padStart(6)} ms  ${detail}`);
    };
    const dataDir = mkdtempSync(join(tmpdir(), "ftl-conformance-"));
    say(`\n${plugin.title} (${plugin.id}), provider contract ${plugin.contract}\n`);
    try {
      if (maxUsd !== undefined && !(await runLive(subject, dataDir, maxUsd, gpus, show))) failures++;
      if (maxUsd === undefined) for await (const one of conform(plugin, config, dataDir, { gpus, ...send })) show(one);
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
      await subject.close?.();
    }
    say(failures > 0 ? `\n${failures} failed` : "\nall passed");
    return failures > 0 ? EXIT.failed : EXIT.ok;
  },
};
