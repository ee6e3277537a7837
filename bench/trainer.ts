/**
 * Tokens per second and peak memory of training, SFT and DPO with LoRA, compared with plain TRL and LLaMA-Factory on
 * the same model, rows and configuration, in alternation. `bun run bench trainer MODEL_DIR [--methods sft,dpo] [--steps
 * 8] [--rounds 3] [--precision float32] [--levers] [--no-install]`
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { needs } from "../scripts/setup.ts";
import { TRAINER_ENV } from "../test/support/live.ts";
import { median } from "./support.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    methods: { type: "string", default: "sft,dpo" },
    steps: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
    precision: { type: "string", default: "float32" },
    /** Only our trainer: without each optimization in turn, and with each optional one. */
    levers: { type: "boolean", default: false },
    "no-install": { type: "boolean", default: false },
  },
});
needs("trainer environment");
const model = positionals[0];
if (!model || !existsSync(join(model, "config.json"))) {
  console.error("Name a model directory with a chat template like SmolLM2's: bun run bench trainer MODEL_DIR");
  process.exit(2);
}

const CACHE = join(import.meta.dir, "../.cache/bench-peers");
/**
 * The newest versions that LLaMA-Factory 0.9.5 allows, without its packages for images, audio, web pages and other
 * model hubs.
 */
const LLAMAFACTORY = "llamafactory==0.9.5";
const ITS_PACKAGES = [
  "torch==2.13.0",
  "transformers==5.6.0",
  "peft==0.18.1",
  "trl==0.24.0",
  "accelerate==1.11.0",
  "datasets==4.0.0",
  "einops",
  "fire",
  "omegaconf",
  "pandas",
  "pyyaml",
  "safetensors",
  "scipy",
  "sentencepiece",
  "tiktoken",
  "protobuf",
  "tyro<0.9.0",
  "fastapi",
  "pydantic",
  "matplotlib",
  "sse-starlette",
  "uvicorn",
  "hf-transfer",
  "packaging",
];

/** The interpreter with LLaMA-Factory, or why there is none. */
function llamafactory(): { python: string } | { why: string } {
  const env = join(CACHE, "llamafactory");
  const python = join(env, "bin/python");
  const run = (argv: string[]) => Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  if (existsSync(join(env, "ready"))) return { python };
  if (options["no-install"]) return { why: "not installed" };
  mkdirSync(CACHE, { recursive: true });
  console.log(`installing ${LLAMAFACTORY} into ${env} (once) …`);
  const pip = [join(env, "bin/pip"), "install", "-q"];
  if (
    !run(["python3", "-m", "venv", env]) ||
    !run([...pip, ...ITS_PACKAGES]) ||
    !run([...pip, "--no-deps", LLAMAFACTORY])
  )
    return { why: `pip could not install ${LLAMAFACTORY}` };
  writeFileSync(join(env, "ready"), "");
  return { python };
}

interface Run {
  tokens: number;
  wall: number;
  cpu: number;
  peak_mb: number;
  losses: number[];
}

const scratch = mkdtempSync(join(tmpdir(), "ftl-bench-"));

/** Rows of varying lengths as in real data; deterministic. */
function rowsFile(method: string, count: number): string {
  const words =
    "my card transfer to the bank in Paris did not arrive and I would like to know why it was charged twice".split(" ");
  let state = 42;
  const next = (n: number) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * n);
  };
  const say = (most: number) =>
    Array.from(
      { length: Math.min(90, 4 + Math.floor(-Math.log(1 - next(1e6) / 1e6) * most)) },
      () => words[next(words.length)],
    );
  const intents = ["lost_card", "card_arrival", "exchange_rate", "refund", "top_up_failed", "pin_change", "atm_fee"];
  const rows = Array.from({ length: count }, (_, n) => {
    const asked = [
      { role: "system", content: "Answer with JSON: intent and team." },
      { role: "user", content: say(14).join(" ") },
    ];
    const answer = {
      role: "assistant",
      content: JSON.stringify({ intent: intents[next(7)], team: next(2) ? "cards" : "payments" }),
    };
    if (method === "sft") return { id: n + 1, messages: [...asked, answer] };
    return {
      id: n + 1,
      messages: asked,
      chosen: [answer],
      rejected: [{ role: "assistant", content: say(10).join(" ") }],
    };
  });
  const path = join(scratch, `${method}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

/** Runs one side once. */
function measure(python: string, side: string, method: string, rows: string): Run {
  const script = join(import.meta.dir, "peers/training.py");
  const argv = [python, script, side, method, resolve(model as string), options.steps, options.precision, rows];
  const done = Bun.spawnSync(argv, {
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: process.env.PATH ?? "", HOME: scratch },
  });
  if (done.exitCode !== 0) throw new Error(`${side}: ${done.stderr.toString().slice(-3000)}`);
  return JSON.parse(done.stdout.toString().trim().split("\n").at(-1) ?? "");
}

const python = join(TRAINER_ENV, "bin/python");
const peer = options.levers ? { why: "levers apply only to our trainer" } : llamafactory();
if ("why" in peer && !options.levers) console.log(`LLaMA-Factory skipped: ${peer.why}`);
const sides: [name: string, python: string][] = options.levers
  ? ["ours", "ours:all-logits", "ours:mixed-lengths", "ours:packed", "ours:top-third"].map((name) => [name, python])
  : [
      ["ours", python],
      ["trl", python],
      ...("python" in peer ? [["llamafactory", peer.python] as [string, string]] : []),
    ];

try {
  for (const method of options.levers ? ["sft"] : options.methods.split(",")) {
    const rows = rowsFile(method, Number(options.steps) * 8);
    const runs = new Map<string, Run[]>(sides.map(([name]) => [name, []]));
    for (let round = 0; round < Number(options.rounds); round++)
      for (const [name, interpreter] of sides) runs.get(name)?.push(measure(interpreter, name, method, rows));
    console.log(`\n${method}, ${options.precision}, ${options.steps} steps of 8 rows, ${options.rounds} rounds`);
    const of = (name: string, what: (run: Run) => number) => median((runs.get(name) ?? []).map(what));
    const rate = (name: string) => of(name, (run) => run.tokens / run.wall);
    for (const [name] of sides) {
      const losses = runs.get(name)?.[0]?.losses ?? [];
      const half = losses.slice(Math.floor(losses.length / 2));
      console.log(
        [
          name.padEnd(20),
          `${rate(name).toFixed(1).padStart(7)} tokens/s`,
          `${of(name, (run) => run.tokens / run.cpu)
            .toFixed(1)
            .padStart(7)} per CPU second`,
          `peak ${Math.round(of(name, (run) => run.peak_mb))} MiB`,
          `loss ${losses[0]} to ${(half.reduce((a, b) => a + b, 0) / half.length).toFixed(4)} (mean of the second half)`,
          `ours / peer ${(rate("ours") / rate(name)).toFixed(2)}`,
        ].join("  "),
      );
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
