/**
 * Latency that the gateway adds to a chat request (key check, limit, routing, usage row) over a direct request to the
 * engine, compared with Portkey's gateway (Node) and LiteLLM's proxy (Python). `bun bench/gateway.ts [--no-install]`
 * All targets are interleaved in one run. Peers are installed into .cache/bench-peers once; one that cannot be
 * installed is skipped with a message.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, quantile, rssMb } from "./support.ts";

const ROOT = join(import.meta.dir, "..");
const CACHE = join(ROOT, ".cache/bench-peers");
const ROUNDS = 5;
const SERIAL = 200;
const RATE = 1000;
const RATE_SECONDS = 5;
const PORTKEY = "@portkey-ai/gateway@1.15.2";
const LITELLM = "litellm[proxy]==1.104.5";
const install = !process.argv.includes("--no-install");

const scratch = mkdtempSync(join(tmpdir(), "ftl-bench-"));
const children: Bun.Subprocess[] = [];
function start(
  argv: string[],
  options: { cwd?: string; env?: Record<string, string | undefined>; quiet?: boolean } = {},
) {
  const child = Bun.spawn(argv, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdin: "pipe",
    stdout: options.quiet ? "ignore" : "pipe",
    stderr: options.quiet ? "ignore" : "inherit",
  });
  children.push(child);
  return child;
}

/** Reads the standard output of a child process line by line. */
function linesOf(stream: ReadableStream<Uint8Array>): () => Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  return async () => {
    while (!rest.includes("\n")) {
      const { done, value } = await reader.read();
      if (done) throw new Error("a process of the benchmark ended early");
      rest += decoder.decode(value, { stream: true });
    }
    const at = rest.indexOf("\n");
    const line = rest.slice(0, at);
    rest = rest.slice(at + 1);
    return line;
  };
}

interface Target {
  name: string;
  url: string;
  headers: Record<string, string>;
  model: string;
  pid: number;
}

async function ask(target: Target): Promise<number> {
  const began = performance.now();
  const reply = await fetch(target.url, {
    method: "POST",
    headers: { "content-type": "application/json", ...target.headers },
    body: JSON.stringify({
      model: target.model,
      messages: [
        { role: "system", content: "You answer in one sentence." },
        { role: "user", content: "What is the capital of France?" },
      ],
      temperature: 0,
    }),
  });
  const text = await reply.text();
  const took = performance.now() - began;
  if (!reply.ok) throw new Error(`${target.name} answered ${reply.status}: ${text.slice(0, 300)}`);
  return took;
}

async function serial(target: Target, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < count; n++) times.push(await ask(target));
  return times;
}

/** Sends `RATE` requests per second, whether or not earlier ones were answered. */
async function atRate(target: Target): Promise<number[]> {
  const began = performance.now();
  const all: Promise<number>[] = [];
  for (let n = 0; n < RATE * RATE_SECONDS; ) {
    const due = Math.min(RATE * RATE_SECONDS, Math.floor(((performance.now() - began) / 1000) * RATE));
    for (; n < due; n++) all.push(ask(target));
    await Bun.sleep(1);
  }
  return Promise.all(all);
}

async function waitFor(target: Target, seconds: number): Promise<boolean> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await Bun.sleep(300))
    if (
      await ask(target).then(
        () => true,
        () => false,
      )
    )
      return true;
  return false;
}

function run(argv: string[], cwd: string): boolean {
  return Bun.spawnSync(argv, { cwd, stdout: "ignore", stderr: "ignore" }).exitCode === 0;
}

async function freePort(): Promise<number> {
  const probe = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = probe;
  await probe.stop(true);
  return port ?? 0;
}

async function portkey(enginePort: number): Promise<Target | string> {
  const dir = join(CACHE, "portkey");
  const entry = join(dir, "node_modules/@portkey-ai/gateway/build/start-server.js");
  if (!existsSync(entry)) {
    if (!install) return "not installed";
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "package.json"), '{"private":true}');
    if (!run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", PORTKEY], dir) || !existsSync(entry))
      return `npm could not install ${PORTKEY}`;
  }
  const port = await freePort();
  const child = start(["node", entry, `--port=${port}`, "--headless"], { cwd: dir, quiet: true });
  const target: Target = {
    name: "Portkey gateway",
    url: `http://127.0.0.1:${port}/v1/chat/completions`,
    headers: {
      authorization: "Bearer sk-bench",
      "x-portkey-provider": "openai",
      "x-portkey-custom-host": `http://127.0.0.1:${enginePort}/v1`,
    },
    model: "tiny",
    pid: child.pid,
  };
  return (await waitFor(target, 20)) ? target : "did not start";
}

async function litellm(enginePort: number): Promise<Target | string> {
  const dir = join(CACHE, "litellm");
  const bin = join(dir, "bin/litellm");
  if (!existsSync(bin)) {
    if (!install) return "not installed";
    mkdirSync(CACHE, { recursive: true });
    if (!run(["python3", "-m", "venv", dir], CACHE) || !run([join(dir, "bin/pip"), "install", "-q", LITELLM], CACHE)) {
      rmSync(dir, { recursive: true, force: true });
      return `pip could not install ${LITELLM}`;
    }
  }
  const config = join(scratch, "litellm.yaml");
  const master = "sk-bench-master";
  writeFileSync(
    config,
    `model_list:\n  - model_name: tiny\n    litellm_params:\n      model: openai/tiny\n      api_base: http://127.0.0.1:${enginePort}/v1\n      api_key: sk-none\ngeneral_settings:\n  master_key: ${master}\nlitellm_settings:\n  telemetry: false\n`,
  );
  const port = await freePort();
  const child = start([bin, "--config", config, "--port", String(port), "--host", "127.0.0.1"], {
    cwd: scratch,
    quiet: true,
    env: { ...process.env, LITELLM_LOCAL_MODEL_COST_MAP: "True", LITELLM_LOG: "ERROR" },
  });
  const target: Target = {
    name: "LiteLLM proxy",
    url: `http://127.0.0.1:${port}/v1/chat/completions`,
    headers: { authorization: `Bearer ${master}` },
    model: "tiny",
    pid: child.pid,
  };
  return (await waitFor(target, 60)) ? target : "did not start";
}

const ms = (value: number) => value.toFixed(3).padStart(9);
const print = (line: string) => process.stdout.write(`${line}\n`);

async function main() {
  const socket = join(scratch, "engine.sock");
  const engine = start([process.execPath, join(ROOT, "bench/peers/engine.ts"), socket]);
  const enginePort = Number(await linesOf(engine.stdout as ReadableStream<Uint8Array>)());
  const own = start([process.execPath, join(ROOT, "bench/peers/gateway-under-test.ts"), socket]);
  const ownLine = linesOf(own.stdout as ReadableStream<Uint8Array>);
  const ready = JSON.parse(await ownLine()) as { port: number; key: string; dir: string };
  const overheads = async (): Promise<number[]> => {
    (own.stdin as Bun.FileSink).write("\n");
    await (own.stdin as Bun.FileSink).flush();
    return JSON.parse(await ownLine());
  };
  const direct: Target = {
    name: "engine itself",
    url: `http://127.0.0.1:${enginePort}/v1/chat/completions`,
    headers: {},
    model: "tiny",
    pid: engine.pid,
  };
  const ours: Target = {
    name: "Fine-Tune Lab",
    url: `http://127.0.0.1:${ready.port}/v1/chat/completions`,
    headers: { authorization: `Bearer ${ready.key}` },
    model: "tiny",
    pid: own.pid,
  };
  const bare = start([process.execPath, join(ROOT, "bench/peers/bare-proxy.ts"), socket]);
  const floor: Target = {
    ...direct,
    name: "bare Bun proxy",
    url: `http://127.0.0.1:${await linesOf(bare.stdout as ReadableStream<Uint8Array>)()}/v1/chat/completions`,
    pid: bare.pid,
  };
  const peers: Target[] = [];
  for (const [name, made] of [
    ["Portkey gateway", await portkey(enginePort)],
    ["LiteLLM proxy", await litellm(enginePort)],
  ] as const)
    if (typeof made === "string") print(`${name}: skipped, ${made}`);
    else peers.push(made);

  print(`\nOne request at a time, ${ROUNDS} interleaved rounds of ${SERIAL} (milliseconds)`);
  const targets = [direct, floor, ours, ...peers];
  const times = new Map(targets.map((target) => [target, { p50: [] as number[], p99: [] as number[] }]));
  for (const target of targets) await serial(target, 100);
  for (let round = 0; round < ROUNDS; round++)
    for (const target of targets) {
      const taken = await serial(target, SERIAL);
      times.get(target)?.p50.push(quantile(taken, 0.5));
      times.get(target)?.p99.push(quantile(taken, 0.99));
    }
  const of = (target: Target, which: "p50" | "p99") => median(times.get(target)?.[which] ?? []);
  const added = (target: Target) => of(target, "p50") - of(direct, "p50");
  print("                        p50       p99   added p50   added p99   memory");
  for (const target of targets)
    print(
      `${target.name.padEnd(18)}${ms(of(target, "p50"))} ${ms(of(target, "p99"))}   ${ms(added(target))}   ${ms(of(target, "p99") - of(direct, "p99"))}   ${rssMb(target.pid)} MB`,
    );
  for (const peer of peers)
    print(`ratio: ${peer.name} adds ${(added(peer) / added(ours)).toFixed(1)} times as much as Fine-Tune Lab`);

  print(
    `\n${RATE} requests a second for ${RATE_SECONDS} s, arrivals not waiting for answers, 3 interleaved rounds (milliseconds)`,
  );
  await overheads();
  const lanes = [direct, floor, ours];
  const rate = new Map(lanes.map((target) => [target, [] as number[][]]));
  const inside: number[] = [];
  for (let round = 0; round < 3; round++)
    for (const target of lanes) {
      rate.get(target)?.push(await atRate(target));
      if (target === ours) inside.push(...(await overheads()));
    }
  const shares = [0.5, 0.9, 0.99, 0.999];
  const at = (target: Target, share: number) => median((rate.get(target) ?? []).map((round) => quantile(round, share)));
  print("                        p50       p90       p99      p999");
  const cells = (of: (share: number) => number) => shares.map((share) => ms(of(share))).join(" ");
  for (const target of lanes) print(`${target.name.padEnd(18)}${cells((share) => at(target, share))}`);
  print(
    `added to engine   ${cells((share) => at(ours, share) - at(direct, share))}   seen by the client (three processes share the cores)`,
  );
  print(`added to bare     ${cells((share) => at(ours, share) - at(floor, share))}   what is this product's own`);
  print(
    `spent inside      ${cells((share) => quantile(inside, share))}   by the usage rows: ${inside.length} of ${3 * RATE * RATE_SECONDS} rows written`,
  );
  print("budget                0.300               2.000");
  rmSync(ready.dir, { recursive: true, force: true });
}

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(0);
