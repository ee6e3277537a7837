/** `serve`: the server, until it is told to stop. */
import { loadConfig } from "../config.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "./command.ts";

export const serve: Verb = {
  name: "serve",
  summary: "Runs the server: pages, API, and the engine that runs jobs.",
  options: CONFIG_OPTIONS,
  notes: `Brings the database to this version first. Listens on this machine only unless --listen says otherwise.
On a data directory without an administrator it prints a link, valid once, to make the first one.
SIGTERM and Ctrl-C stop it within 10 seconds; training jobs go on by themselves and are found again at the next start.
All settings: docs/admin-guide.md.`,
  async run(args) {
    const config = loadConfig(configFlags(args));
    const { runServer, setupLink, untilSignal } = await import("./run-server.ts");
    const running = await runServer(config);
    // On standard output on purpose: a log file of standard error must not hold the link.
    const say = (line: string) => process.stdout.write(`${line}\n`);
    say(`Fine-Tune Lab listens on ${running.url}  (data: ${running.ctx.files.root})`);
    const link = await setupLink(running.ctx, running.url);
    if (link) say(`Make the first administrator here (this link works once, for 24 hours):\n  ${link}`);
    const signal = await untilSignal();
    running.ctx.log("info", `stopping on ${signal}; jobs go on`);
    await running.stop();
    // Something that still holds the event loop must not hold the process.
    process.exit(EXIT.ok);
  },
};
