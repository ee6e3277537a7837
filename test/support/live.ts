/**
 * A real server in a child process on its own data directory, as an administrator would start it: for tests that kill,
 * restart and use it from outside.
 */
import { Database } from "bun:sqlite";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PROGRAM } from "./program.ts";

const ROOT = join(import.meta.dir, "../..");
export const TRAINER_ENV = process.env.FTL_TRAINER_ENV ?? join(ROOT, ".cache/trainer-env");
/**
 * The same for servers whose tests are about something else than how trainers start: their warm launchers are forks of
 * one preloaded Python, where the test command started one.
 */
export const SERVER_ENV = process.env.FTL_TEST_SERVER_ENV ?? TRAINER_ENV;
/** Directories that tests import models from. */
export const MODEL_ROOTS = [
  tmpdir(),
  join(ROOT, ".cache/models"),
  ...[process.env.FTL_TEST_TINY_MODEL, process.env.FTL_TEST_SMOLLM2].flatMap((path) => (path ? [dirname(path)] : [])),
];
/** Null when real trainers can run here, else what is missing. */
export const trainerMissing = existsSync(join(TRAINER_ENV, "bin/python"))
  ? null
  : `no trainer environment at ${TRAINER_ENV} (the test command creates it)`;

export interface Live {
  url: string;
  dir: string;
  key: string;
  email: string;
  password: string;
  pid(): number;
  /** Runs a verb of the command line against the data directory; returns standard output. */
  cli(...args: string[]): string;
  /** Authenticated JSON call; throws with the answer when the status is 400 or more. */
  call<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T>;
  kill9(): Promise<void>;
  /** Asks the server to stop, as a service manager does; resolves with the milliseconds it took to end. */
  stop(): Promise<number>;
  /** Resolves when the server has ended, however it did. */
  ended(): Promise<void>;
  /** Starts the server again, with these environment variables besides. */
  start(env?: Record<string, string>): Promise<void>;
  /** Standard error so far, for messages of failing tests. */
  log(): string;
  /** Stops the server and all it started, and removes the data directory. */
  close(): Promise<void>;
}

/** A port of this machine that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

/** Waits until `check` gives something truthy, looking every `every` milliseconds, or whenever it resolves. */
export async function until<T>(
  what: string,
  check: () => Promise<T | null | undefined | false>,
  timeoutMs = 30_000,
  every: number | (() => Promise<unknown>) = 100,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > end) throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}`);
    await (typeof every === "number" ? Bun.sleep(every) : every());
  }
}

const EMAIL = "admin@example.test";
const PASSWORD = "a long enough phrase 41";

/** What a data directory has before a server starts on it, and the password of its administrator. */
const FIRST_FILES = ["lab.db", "secret", "password"];

/** Runs a verb of `command` on a data directory; returns standard output. */
function runVerb(command: readonly string[], args: string[], dir: string, env: Record<string, string>, cwd?: string) {
  const run = Bun.spawnSync([...command, ...args, "--data", dir], { env, cwd });
  if (run.exitCode !== 0)
    throw new Error(`${args.join(" ")} exited ${run.exitCode}: ${run.stderr.toString()}${run.stdout.toString()}`);
  return run.stdout.toString();
}

/** Makes the administrator and an API key, through the command line. Returns the key. */
function makeAdmin(verb: (...args: string[]) => string, dir: string): string {
  writeFileSync(join(dir, "password"), PASSWORD, { mode: 0o600 });
  verb("user", "create", "--email", EMAIL, "--password-file", join(dir, "password"), "--role", "admin");
  return verb("key", "create", "--email", EMAIL, "--name", "test").trim();
}

/**
 * Makes a data directory with an administrator and a key, which servers of the tests start from a copy of. It has no
 * installation id: each server makes its own, so that two of them may use one engine.
 * @returns what tests get
 */
export function makeFirstData(program: string, dir: string): Record<"FTL_TEST_DATA", string> {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const env = { PATH: process.env.PATH ?? "", HOME: dir };
  const key = makeAdmin((...args) => runVerb([program], args, dir, env), dir);
  const database = new Database(join(dir, "lab.db"));
  database.run("DELETE FROM installation WHERE key = 'id'");
  database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  writeFileSync(join(dir, "key"), key, { mode: 0o600 });
  return { FTL_TEST_DATA: dir };
}

/**
 * Starts a server and makes an administrator with an API key, all through the command line, or from the data directory
 * of the test command, where these were made the same way.
 * @param options.prepare fills the data directory first, with an administrator of the address `email`
 * @param options.command starts the program in another way, on an empty data directory
 */
export async function startLive(
  options: { env?: Record<string, string>; command?: string[]; cwd?: string; prepare?: (dir: string) => void } = {},
): Promise<Live> {
  const dir = mkdtempSync(join(tmpdir(), "ftl-live-"));
  const logPath = join(dir, "server.log");
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const command = options.command ?? [...PROGRAM];
  const env = {
    PATH: process.env.PATH ?? "",
    HOME: dir,
    FTL_TRAINER_ENV: SERVER_ENV,
    FTL_IMPORT_ROOTS: MODEL_ROOTS.join(","),
    ...options.env,
  };
  let child: ReturnType<typeof Bun.spawn> | null = null;

  const cli = (...args: string[]) => runVerb(command, args, dir, env, options.cwd);
  const log = () => (existsSync(logPath) ? readFileSync(logPath, "utf8") : "");
  const start = async (more: Record<string, string> = {}) => {
    child = Bun.spawn([...command, "serve", "--data", dir, "--listen", `127.0.0.1:${port}`], {
      env: { ...env, ...more },
      cwd: options.cwd,
      stdout: "ignore",
      stderr: Bun.file(logPath),
    });
    await until("the server to answer", async () => {
      if (child?.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended: ${log()}`);
      return (await fetch(`${url}/healthz`).catch(() => null))?.ok;
    });
  };
  const made = options.prepare || options.command ? undefined : process.env.FTL_TEST_DATA;
  if (made) for (const name of FIRST_FILES) copyFileSync(join(made, name), join(dir, name));
  options.prepare?.(dir);
  await start();
  let key: string;
  if (made) key = readFileSync(join(made, "key"), "utf8");
  else if (options.prepare) key = cli("key", "create", "--email", EMAIL, "--name", "test").trim();
  else key = makeAdmin(cli, dir);

  return {
    url,
    dir,
    key,
    email: EMAIL,
    password: PASSWORD,
    cli,
    log,
    start,
    pid: () => child?.pid ?? 0,
    async call(method, path, body) {
      const answer = await fetch(url + path, {
        method,
        headers: {
          authorization: `Bearer ${key}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`);
      return JSON.parse(text);
    },
    async kill9() {
      child?.kill("SIGKILL");
      await child?.exited;
    },
    async stop() {
      const from = performance.now();
      child?.kill("SIGTERM");
      await child?.exited;
      return performance.now() - from;
    },
    async ended() {
      await child?.exited;
    },
    async close() {
      child?.kill("SIGTERM");
      await child?.exited;
      for (const pid of processesOf(dir)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // it ended by itself
        }
      }
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The most memory a process had at once so far, in bytes. */
export function peakMemory(pid: number): number {
  return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** Begins a new measurement of the peak. @returns the memory of the process now, in bytes */
export function startPeak(pid: number): number {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  return peakMemory(pid);
}

/** Ids of processes whose environment or command line names the data directory: trainers the server left behind. */
export function processesOf(dir: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const words = readFileSync(`/proc/${name}/environ`, "utf8") + readFileSync(`/proc/${name}/cmdline`, "utf8");
      return words.includes(dir) ? [Number(name)] : [];
    } catch {
      return []; // it ended meanwhile, or belongs to someone else
    }
  });
}
