/** `doctor`: what this machine can do, and how to fix each gap. */
import { ensureTrainerEnvironment } from "../../compute/environment/install.ts";
import { loadConfig } from "../../config.ts";
import { openFiles } from "../../lib/disk/files.ts";
import { connect, SERVER_OPTIONS } from "../client/connection.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { localChecks, remoteChecks } from "./sources.ts";

const MARK = { ok: "ok     ", info: "-      ", gap: "gap    ", missing: "MISSING" } as const;

export const doctor: Verb = {
  name: "doctor",
  summary: "Checks what this machine can do, and shows how to fix each gap.",
  options: {
    json: { help: "print the result as one JSON object" },
    install: { help: "create the trainer environment now (1.6 GB, a few minutes)" },
    data: CONFIG_OPTIONS.data,
    listen: CONFIG_OPTIONS.listen,
    python: CONFIG_OPTIONS.python,
    torch: CONFIG_OPTIONS.torch,
    url: { value: "URL", help: "ask the server at this address by its API instead" },
    key: SERVER_OPTIONS.key,
  },
  notes:
    "A server that runs on the data directory is asked, so that the answer is about its settings and not those of this shell.\nExit code 0 when this machine can train, 1 when something it needs is missing.",
  async run(args) {
    const config = loadConfig(configFlags(args));
    if (args.on("install")) {
      const progress = createProgress(process.stderr);
      await ensureTrainerEnvironment(config, openFiles(config.data_dir), progress.show);
      progress.end();
    }
    const elsewhere = args.text("url") !== undefined;
    const checks = elsewhere ? await remoteChecks(connect(args)) : await localChecks(config);
    const able = checks.every((each) => each.state !== "missing");
    if (args.on("json")) process.stdout.write(`${JSON.stringify({ able_to_train: able, checks })}\n`);
    else
      for (const { name, state, found, advice } of checks) {
        process.stdout.write(`${MARK[state]}  ${name.padEnd(20)} ${found}\n`);
        if (advice) process.stdout.write(`${" ".repeat(30)}${advice}\n`);
      }
    return able ? EXIT.ok : EXIT.failed;
  },
};
