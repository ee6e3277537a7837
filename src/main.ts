#!/usr/bin/env bun
/**
 * The program: the command line, or the data worker that a running server starts from the same file. Each loads only
 * its own modules.
 */
import { DATA_WORKER } from "./data/validation/worker/host.ts";

// Files of this process and its children are private; files that containers must read get their mode explicitly.
process.umask(0o077);
// Set before Elysia is loaded, which reads it once: outside of production, validation errors contain the request.
Object.assign(process.env, { NODE_ENV: "production" });

if (process.argv[2] === DATA_WORKER) (await import("./data/validation/worker/process.ts")).serveOneTask();
else await (await import("./cli/run.ts")).runCommandLine(process.argv.slice(2));
