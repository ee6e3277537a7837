/**
 * A real Docker Engine for tests: the one a running test command started, the one DOCKER_HOST names, or one started
 * here on the cached data root.
 */
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Engine } from "../../plugins/docker/engines.ts";
import { readEngines } from "../../plugins/docker/engines.ts";

const ROOT = resolve(import.meta.dir, "../..");
export const DOCKER_CACHE = join(ROOT, ".cache/docker");
/** A Debian with Python and nothing else. */
export const BASE_IMAGE = "ftl-test/base:latest";
const SOCKET = join(DOCKER_CACHE, "d.sock");
const DISTRIBUTION = "bookworm";

export interface TestDocker {
  /** As in the provider's setting `hosts`. */
  address: string;
  engine: Engine;
  /** Ends the engine when it was started here. Images stay in the cache. */
  close(): Promise<void>;
}

function engineAt(address: string): Engine {
  const [engine] = readEngines(address).engines;
  if (!engine) throw new Error(`no engine at ${address}`);
  return engine;
}

async function answers(address: string): Promise<boolean> {
  return engineAt(address)
    .docker.ping()
    .then(
      () => true,
      () => false,
    );
}

/** Runs a program to its end. @throws Error with the last lines of its output */
export async function runProgram(argv: string[], options: { stdin?: Blob } = {}): Promise<void> {
  const child = Bun.spawn(argv, { stdin: options.stdin ?? "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0) throw new Error(`${argv[0]} failed: ${(out + err).trim().slice(-600)}`);
}

/**
 * Starts an engine on `dataRoot`; it has no bridge, since nothing here may have a network. `extra` are further
 * arguments of dockerd.
 */
export async function startDockerd(dataRoot: string, socket: string, extra: string[] = []) {
  // The engine's own sockets need a short path.
  const run = mkdtempSync(join(tmpdir(), "ftl-dockerd-"));
  mkdirSync(dataRoot, { recursive: true });
  const log = join(run, "log");
  const child = Bun.spawn(
    [
      "dockerd",
      "--data-root",
      dataRoot,
      "--exec-root",
      join(run, "exec"),
      "-p",
      join(run, "pid"),
      "-H",
      `unix://${socket}`,
      "--bridge=none",
      "--iptables=false",
      ...extra,
    ],
    { stdin: "ignore", stdout: "ignore", stderr: openSync(log, "a") },
  );
  const stop = async () => {
    child.kill("SIGTERM");
    await Promise.race([child.exited, Bun.sleep(15_000)]);
    child.kill("SIGKILL");
    await child.exited;
    rmSync(run, { recursive: true, force: true });
  };
  for (let i = 0; i < 300; i++) {
    if (child.exitCode !== null) {
      const last = readFileSync(log, "utf8").trim().split("\n").at(-1) ?? "";
      rmSync(run, { recursive: true, force: true });
      throw new Error(`dockerd ended: ${last.slice(0, 300)}`);
    }
    if (await answers(`unix://${socket}`)) return { stop };
    await Bun.sleep(100);
  }
  await stop();
  throw new Error("dockerd did not answer within 30 s");
}

/** Why no engine can be had here; null when one can. */
function impossible(): string | null {
  if (process.platform !== "linux") return "the Docker Engine runs on Linux";
  if (!Bun.which("dockerd")) return "dockerd is not installed (Debian: apt-get install docker.io)";
  if (process.getuid?.() !== 0) return "dockerd needs root; name a running engine in DOCKER_HOST";
  const { bavail, bsize } = statfsSync(ROOT);
  return bavail * bsize < 12e9 ? "less than 12 GB are free for images" : null;
}

/** Makes the base image unless the engine has it. The tar is kept, so that a second engine needs seconds. */
async function ensureBase({ docker }: Engine): Promise<void> {
  const there = await docker
    .getImage(BASE_IMAGE)
    .inspect()
    .then(
      () => true,
      () => false,
    );
  if (there) return;
  const tar = join(DOCKER_CACHE, "base.tar");
  if (!existsSync(tar)) {
    if (!Bun.which("mmdebstrap")) throw new Error("mmdebstrap is not installed (Debian: apt-get install mmdebstrap)");
    const packages = "--include=python3,python3-venv,ca-certificates";
    await runProgram(["mmdebstrap", "--variant=minbase", "--quiet", packages, DISTRIBUTION, `${tar}.new.tar`]);
    await runProgram(["mv", `${tar}.new.tar`, tar]);
  }
  const stream = await docker.importImage(tar, { fromSrc: "-", repo: "ftl-test/base", tag: "latest" });
  await new Response(stream as unknown as ReadableStream).text();
}

/** The engine for tests with the base image in it, or why there is none. */
export async function testDocker(): Promise<TestDocker | { skip: string }> {
  const named = process.env.FTL_TEST_DOCKER ?? process.env.DOCKER_HOST;
  if (named?.startsWith("skip:")) return { skip: named.slice(5) };
  try {
    const running = named ?? ((await answers(`unix://${SOCKET}`)) ? `unix://${SOCKET}` : null);
    const why = running ? null : impossible();
    if (why) return { skip: why };
    mkdirSync(DOCKER_CACHE, { recursive: true });
    const started = running ? null : await startDockerd(join(DOCKER_CACHE, "data"), SOCKET);
    const address = running ?? `unix://${SOCKET}`;
    const engine = engineAt(address);
    await ensureBase(engine);
    return { address, engine, close: async () => started?.stop() };
  } catch (error) {
    return { skip: error instanceof Error ? error.message : String(error) };
  }
}
