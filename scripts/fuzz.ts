/**
 * `bun run fuzz [--seconds N] [--requests N] [--seed N]`: sends mutated requests to a real server that it starts. Exit
 * code 1 when one of them makes it fail.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createKey } from "../src/accounts/api-keys/service.ts";
import { createUser } from "../src/accounts/auth/service.ts";
import { systemActor } from "../src/ctx.ts";
import { createTestApp, PASSWORD } from "../test/support/app.ts";
import { makeEverything } from "../test/support/everything.ts";
import {
  type FuzzOptions,
  type FuzzRequest,
  plainReads,
  plainWrites,
  requestOf,
  routesOf,
} from "../test/support/fuzz.ts";
import { freePort, peakMemory, until } from "../test/support/live.ts";
import { TEXTS } from "../test/support/mutations.ts";
import { PROGRAM } from "../test/support/program.ts";
import { CACHE, say } from "./setup.ts";

const HELP = `bun run fuzz [options]

Starts a server on a data directory with one of everything, and sends it mutated requests over plain sockets: every
route of the API and every page, with broken bodies, queries, headers, hosts and content types. Then it reads every page.
  --seconds N   how long (default 60)
  --requests N  end after N requests instead
  --seed N      the seed (default: by the clock; it is printed)
  --from N      start at the N-th request: --seed S --from N --requests 1 repeats one request
  --skip KINDS  leave out texts: ${Object.keys(TEXTS).join(", ")}
A request fails the server when it is answered 5xx (but 503 and 507), when it is not answered, when the server ends,
or when the server's memory grows by more than ${600} MB.`;

/** Bytes the server may grow by; a request of 16 MiB is parsed, checked and serialized. */
const GROWTH = 600e6;
const LANES = 4;
const ANSWER_MS = 15_000;
const SHOWN = 20;
/** Routes that wait for an engine. */
const WAITS = /\/(completions|embeddings|responses|graders\/run)\b/;

interface FuzzReport {
  seed: number;
  requests: number;
  /** Responses by status. */
  statuses: Record<string, number>;
  /** Most bytes that the server's memory grew by. */
  grown: number;
  failures: string[];
}

interface FuzzInput {
  seed: number;
  seconds?: number;
  requests?: number;
  from?: number;
  skipped?: readonly string[];
}

/**
 * Status and request id of the response; 0 = closed without one, -1 = none in time. A stream counts once its headers
 * arrive.
 */
function exchange(port: number, bytes: Buffer): Promise<{ status: number; id: string }> {
  return new Promise((resolve) => {
    let head = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const end = (status: number) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ status, id: /^x-request-id: (\S+)/im.exec(head)?.[1] ?? "" });
    };
    const timer = setTimeout(() => end(-1), ANSWER_MS);
    socket.on("data", (piece: Buffer) => {
      if (!head.includes("\r\n\r\n")) head += piece.toString("latin1");
      if (/^content-type: text\/event-stream/im.test(head) && head.includes("\r\n\r\n")) end(statusOf(head));
    });
    socket.on("error", () => {});
    socket.on("close", () => end(statusOf(head)));
  });
}

const statusOf = (head: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);

/** A server process on a data directory with one of everything in organization A, and its routes. */
async function startFuzzed() {
  const app = await createTestApp();
  const made = await makeEverything(app);
  const routes = routesOf(app.app, await app.json("GET", "/openapi.json"), made);
  // A separate administrator: the requests name the keys and accounts of the others.
  const admin = await createUser(app.ctx, systemActor(), {
    email: "fuzz@example.test",
    password: PASSWORD,
    role: "admin" as const,
    org: app.orgs.a,
  });
  const { key } = await createKey(app.ctx, systemActor(), { name: "fuzz", userId: admin.id });
  const keys = [key, key, key, app.keys.member, app.keys.other, ""];
  await app.ctx.close();

  const port = await freePort();
  const log = join(app.dir, "fuzz.log");
  const child = Bun.spawn([...PROGRAM, "serve", "--data", app.dir], {
    // Without a trainer environment nothing trains.
    env: {
      PATH: process.env.PATH ?? "",
      HOME: app.dir,
      FTL_TRAINER_ENV: join(app.dir, "none"),
      FTL_LISTEN: `127.0.0.1:${port}`,
    },
    stdout: "ignore",
    stderr: Bun.file(log),
  });
  await until("the server to answer", async () => {
    if (child.exitCode !== null) throw new Error(`the server ended: ${readFileSync(log, "utf8")}`);
    return (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => null))?.ok;
  });
  return {
    port,
    routes,
    keys,
    child,
    log: () => readFileSync(log, "utf8"),
    async close() {
      child.kill("SIGTERM");
      await Promise.race([child.exited, Bun.sleep(15_000)]);
      child.kill("SIGKILL");
      rmSync(app.dir, { recursive: true, force: true });
    },
  };
}

/** The line of the server's log about a request. */
function cause(log: string, id: string): string {
  const line = id ? log.split("\n").find((each) => each.includes(id)) : undefined;
  return line ? line.slice(0, 700) : "";
}

/** Runs the fuzzer. */
export async function fuzz(input: FuzzInput): Promise<FuzzReport> {
  const server = await startFuzzed();
  const { child, routes } = server;
  const options: FuzzOptions = {
    seed: input.seed,
    host: `127.0.0.1:${server.port}`,
    keys: server.keys,
    last: false,
    skipped: new Set(input.skipped ?? []),
  };
  const report: FuzzReport = { seed: input.seed, requests: 0, statuses: {}, grown: 0, failures: [] };
  const seen = new Set<string>();
  const before = peakMemory(child.pid);
  const grownBy = () => {
    try {
      return peakMemory(child.pid) - before || 0;
    } catch {
      return 0; // the process has ended
    }
  };
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;

  const fail = (what: string, request: FuzzRequest, n: string, why: string) => {
    const kind = `${request.method} ${request.path.split("?")[0]?.replace(/[^/]{18,}/g, ":id")} ${what}`;
    if (seen.has(kind) || seen.size >= SHOWN) return;
    seen.add(kind);
    const file = join(CACHE, "reports", `fuzz-${input.seed}-${seen.size}.http`);
    mkdirSync(join(CACHE, "reports"), { recursive: true });
    writeFileSync(file, request.bytes);
    report.failures.push(`${kind} (seed ${input.seed}, request ${n}, in ${file})${why ? `\n    ${why}` : ""}`);
  };
  const send = async (request: FuzzRequest, n: string) => {
    const { status, id } = await exchange(server.port, request.bytes);
    report.requests++;
    report.statuses[status] = (report.statuses[status] ?? 0) + 1;
    if (status <= 0 && hasEnded()) return;
    // These routes wait for an engine, and here no engine can start.
    if (status === -1 && WAITS.test(request.path)) return;
    if (status <= 0) fail(status ? "was not answered in time" : "was not answered", request, n, "");
    else if (status >= 500 && status !== 503 && status !== 507)
      fail(`was answered ${status}`, request, n, cause(server.log(), id));
  };
  /** Sends the requests of `next` on several connections until it returns null or the server ends. */
  const sendAll = async (next: () => [FuzzRequest, string] | null) => {
    const under = new Map<number, FuzzRequest>();
    const lane = async (at: number) => {
      for (let one = next(); one && !hasEnded(); one = next()) {
        under.set(at, one[0]);
        await send(...one);
        if (!hasEnded()) under.delete(at);
        report.grown = Math.max(report.grown, grownBy());
        if (report.grown > GROWTH) fail(`grew the server by ${Math.round(report.grown / 1e6)} MB`, ...one, "");
      }
    };
    await Promise.all(Array.from({ length: LANES }, (_, at) => lane(at)));
    if (hasEnded()) for (const request of under.values()) fail("was under way when the server ended", request, "?", "");
  };

  const end = performance.now() + (input.seconds ?? 60) * 1000;
  const first = input.from ?? 0;
  const last = input.requests === undefined ? Number.POSITIVE_INFINITY : first + input.requests;
  let n = first;
  const more = () => n < last && (input.requests !== undefined || performance.now() < end);
  const mutations = (): [FuzzRequest, string] | null => {
    if (!more()) return null;
    const at = n++;
    return [requestOf(routes, at, options), String(at)];
  };
  const listed = (left: FuzzRequest[], name: string) => (): [FuzzRequest, string] | null => {
    const request = left.shift();
    return request ? [request, name] : null;
  };
  const reads = () => listed(plainReads(routes, options), "of the pages after it");
  if (input.from === undefined) await sendAll(listed(plainWrites(routes, options), "of the texts before it"));
  await sendAll(mutations);
  // Reads what was written, as pages and as JSON; then deletes things and reads again.
  await Bun.sleep(2_000);
  await sendAll(reads());
  options.last = true;
  const until200 = n + 200;
  if (input.from === undefined)
    await sendAll(() => {
      if (n >= until200) return null;
      const at = n++;
      return [requestOf(routes, at, options), `${at} with real ids`];
    });
  await sendAll(reads());
  if (hasEnded())
    report.failures.unshift(`the server ended (${child.signalCode ?? child.exitCode}): ${server.log().slice(-1_500)}`);
  await server.close();
  return report;
}

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seconds: { type: "string" },
      requests: { type: "string" },
      seed: { type: "string" },
      from: { type: "string" },
      skip: { type: "string" },
      help: { type: "boolean" },
    } as const,
  });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  const number = (name: "seconds" | "requests" | "seed" | "from") => {
    const text = values[name];
    if (text !== undefined && !/^\d{1,9}$/.test(text)) throw new Error(`--${name} takes a whole number, not ${text}`);
    return text === undefined ? undefined : Number(text);
  };
  const seed = number("seed") ?? Date.now() % 1_000_000;
  say(`Fuzzing with seed ${seed}`);
  const skipped = values.skip?.split(",").map((each) => each.trim());
  const report = await fuzz({
    seed,
    seconds: number("seconds"),
    requests: number("requests"),
    from: number("from"),
    skipped,
  });
  for (const failure of report.failures) process.stdout.write(`FAILED ${failure}\n`);
  const counts = Object.entries(report.statuses).map(([status, count]) => `${count}x ${status}`);
  say(`${report.requests} requests (${counts.join(", ")}), memory grew by ${Math.round(report.grown / 1e6)} MB`);
  process.stdout.write(`seed ${seed}: ${report.failures.length} failures\n`);
  return report.failures.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
