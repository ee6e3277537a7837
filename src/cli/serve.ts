/** `serve`: runs the server until a signal stops it. */
import { loadConfig } from "../config.ts";
import { CONFIG_OPTIONS, configFlags, EXIT, type Verb } from "./command.ts";

export const serve: Verb = {
  name: "serve",
  summary: "Runs the server: UI, API, and the job engine.",
  options: CONFIG_OPTIONS,
  notes: `Migrates the database first. Listens only on this machine unless --listen is given.
On a data directory without an administrator it prints a link, valid once, to make the first one.
SIGTERM and Ctrl-C stop it within 10 seconds; training jobs go on by themselves and are found again at the next start.
All settings: docs/admin-guide.md.`,
  async run(args) {
    const config = loadConfig(configFlags(args));
    const { runServer, setupLink, untilSignal } = await import("./run-server.ts");
    const running = await runServer(config);
    // On standard output on purpose: log files of standard error must not contain the link.
    const say = (line: string) => process.stdout.write(`${line}\n`);
    say(`Fine-Tune Lab listens on ${running.url}  (data: ${running.ctx.files.root})`);
    const link = await setupLink(running.ctx, running.url);
    if (link) say(`Create the first administrator here (this link works once, for 24 hours):\n  ${link}`);
    const end = await Promise.race([untilSignal(), running.ctx.lost]);
    const taken = typeof end === "string" ? null : end.message;
    running.ctx.log(taken ? "error" : "info", taken ?? `stopping on ${end}; jobs continue`);
    await running.stop();
    // A busy event loop must not keep the process alive.
    process.exit(taken ? EXIT.failed : EXIT.ok);
  },
};
