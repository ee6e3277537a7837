#!/usr/bin/env bun
/**
 * The program: the command line, or the data worker that a running server starts from the same file. Each loads its own
 * half alone.
 */
import { DATA_WORKER } from "./data/validation/worker/host.ts";

// Whatever this process and its children make is closed to other users; what containers must read is given its mode
// explicitly.
process.umask(0o077);
// Before Elysia is loaded, which reads it once: outside of production its validation errors hold and format what was
// sent.
Object.assign(process.env, { NODE_ENV: "production" });

if (process.argv[2] === DATA_WORKER) (await import("./data/validation/worker/process.ts")).serveOneTask();
else await (await import("./cli/run.ts")).runCommandLine(process.argv.slice(2));
