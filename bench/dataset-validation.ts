/**
 * Megabytes per second of dataset validation with all checks, hashes and writes, and its peak memory; compared with
 * scripts that only read the rows (Bun's JSON.parse, Python's json.loads, pyarrow), alternating in the same run. `bun
 * bench/dataset-validation.ts [--mb 400] [--rounds 3] [--only TEXT] [--vocabulary 3000] [--upload MB] [--no-install]`
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { needs } from "../scripts/setup.ts";
import { startLive, until } from "../test/support/live.ts";
import { median, rssMb } from "./support.ts";

const { values: options } = parseArgs({
  options: {
    mb: { type: "string", default: "400" },
    rounds: { type: "string", default: "3" },
    /** Only kinds of files whose name has this text. */
    only: { type: "string", default: "" },
    "no-install": { type: "boolean", default: false },
    /** Different words of the texts. With 17, most prompts are nearly the same, so few are kept for comparison. */
    vocabulary: { type: "string", default: "3000" },
    /** Also send a file of this size in MB to a running server, as a form, and read the server's peak memory. */
    upload: { type: "string" },
  },
});
needs("python3");
const ROOT = join(import.meta.dir, "..");
const MEGABYTE = 1e6;
const FEW_WORDS =
  "the card payment was declined after travel please explain what happened with my account balance and fees".split(" ");

/** The same numbers from 0 to 1 every time. */
let seed = 1;
function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
}
const WORDS =
  Number(options.vocabulary) <= FEW_WORDS.length
    ? FEW_WORDS
    : Array.from({ length: Number(options.vocabulary) }, () =>
        Array.from({ length: 2 + Math.floor(random() * 8) }, () => "etaoinshrdlucmfw"[Math.floor(random() * 16)]).join(
          "",
        ),
      );
/** Some words are more frequent than others. */
const wordAt = (n: number, i: number) =>
  WORDS === FEW_WORDS
    ? WORDS[(n * 31 + i * i * 7 + i) % WORDS.length]
    : WORDS[Math.floor(random() ** 2 * WORDS.length)];

interface Result {
  status: string;
  rows: number;
  ms: number;
  cpuMs: number;
  peakMb: number;
  /** Bytes of the text in a packed file or table. */
  textBytes?: number | null;
}

/** Sentences that differ from row to row, with the line breaks, quotes and accents that real answers have. */
function text(n: number, words: number): string {
  let out = "";
  for (let i = 0; i < words; i++) out += `${wordAt(n, i)}${i % 13 === 12 ? ",\n" : i % 29 === 28 ? ' "né" ' : " "}`;
  return out + n;
}

/** As Python's json.dumps writes it: a space after every comma and colon. */
const spaced = (value: unknown) =>
  JSON.stringify(value, null, 1)
    .replaceAll(/\n */g, " ")
    .replaceAll(/([[{]) | ([\]}])/g, "$1$2");
const chat = (n: number) => ({
  messages: [
    { role: "system", content: "You are a helpful assistant of a bank." },
    { role: "user", content: text(n, 30) },
    { role: "assistant", content: text(n + 7, 90) },
  ],
});

const kinds: {
  name: string;
  file: string;
  row: (n: number) => string;
  head?: string;
  tail?: string;
  lines: boolean;
  /** The file is converted to a packed one or a table. */
  convert?: "gz" | "parquet" | "arrow";
}[] = [
  { name: "chat JSONL, as Python writes it", file: "a.jsonl", row: (n) => `${spaced(chat(n))}\n`, lines: true },
  {
    name: "chat JSONL with a field too many",
    file: "b.jsonl",
    row: (n) => `${JSON.stringify({ ...chat(n), source: "crm" })}\n`,
    lines: true,
  },
  {
    name: "prompt and completion JSONL",
    file: "c.jsonl",
    row: (n) => `${JSON.stringify({ prompt: text(n, 30), completion: text(n + 7, 90) })}\n`,
    lines: true,
  },
  {
    name: "ShareGPT JSONL",
    file: "f.jsonl",
    row: (n) =>
      `${JSON.stringify({
        conversations: [
          { from: "human", value: text(n, 30) },
          { from: "gpt", value: text(n + 7, 90) },
        ],
      })}\n`,
    lines: true,
  },
  {
    name: "preference JSONL",
    file: "g.jsonl",
    row: (n) => `${JSON.stringify({ prompt: text(n, 30), chosen: text(n + 7, 90), rejected: text(n + 9, 90) })}\n`,
    lines: true,
  },
  {
    name: "plain text JSONL",
    file: "h.jsonl",
    row: (n) => `${JSON.stringify({ text: text(n, 300) })}\n`,
    lines: true,
  },
  {
    name: "Alpaca JSON array",
    file: "d.json",
    head: "[\n",
    tail: `${JSON.stringify({ instruction: "a", input: "", output: "b" })}\n]`,
    row: (n) => `${JSON.stringify({ instruction: text(n, 30), input: "", output: text(n + 7, 90) }, null, 1)},\n`,
    lines: false,
  },
  {
    name: "CSV",
    file: "e.csv",
    head: "prompt,completion\n",
    row: (n) => `"${text(n, 30).replaceAll('"', '""')}","${text(n + 7, 90).replaceAll('"', '""')}"\n`,
    lines: false,
  },
  { name: "chat JSONL, gzip", file: "i.jsonl", row: (n) => `${JSON.stringify(chat(n))}\n`, lines: true, convert: "gz" },
  {
    name: "chat Parquet (list of structs, Snappy)",
    file: "j.jsonl",
    row: (n) => `${JSON.stringify(chat(n))}\n`,
    lines: false,
    convert: "parquet",
  },
  {
    name: "prompt and completion Parquet",
    file: "k.jsonl",
    row: (n) => `${JSON.stringify({ prompt: text(n, 30), completion: text(n + 7, 90) })}\n`,
    lines: false,
    convert: "parquet",
  },
  { name: "chat Arrow", file: "l.jsonl", row: (n) => `${JSON.stringify(chat(n))}\n`, lines: false, convert: "arrow" },
];

const PYARROW = "pyarrow==26.0.1";
/** A Python with pyarrow, installed once; null when that is not possible. */
function pythonWithArrow(): string | null {
  const env = join(ROOT, ".cache/bench-peers/pyarrow");
  const path = join(env, "bin/python");
  const works = () => Bun.spawnSync([path, "-c", "import pyarrow"], { stdout: "ignore", stderr: "ignore" }).success;
  if (existsSync(path) && works()) return path;
  if (options["no-install"]) return null;
  mkdirSync(env, { recursive: true });
  const made = Bun.spawnSync(["python3", "-m", "venv", env]).success;
  return made && Bun.spawnSync([join(env, "bin/pip"), "install", "-q", PYARROW]).success ? path : null;
}

function write(path: string, kind: (typeof kinds)[number], bytes: number) {
  const file = openSync(path, "w");
  writeSync(file, kind.head ?? "");
  let n = 0;
  for (let done = 0; done < bytes; ) {
    let block = "";
    while (block.length < MEGABYTE) block += kind.row(n++);
    done += writeSync(file, block);
  }
  writeSync(file, kind.tail ?? "");
  closeSync(file);
}

function run(command: string[]): Result {
  const child = Bun.spawnSync(command, { stderr: "inherit" });
  if (child.exitCode !== 0) throw new Error(`${command.slice(0, 2).join(" ")} exited ${child.exitCode}`);
  const result = JSON.parse(child.stdout.toString()) as Result;
  if (result.status !== "ready") throw new Error(`the file was not accepted: ${result.status}`);
  return result;
}

const scratch = mkdtempSync(join(tmpdir(), "ftl-bench-data-"));
const peer = (name: string) => join(import.meta.dir, "peers", name);
const python = Bun.which("python3");
const row = (name: string, cells: (string | number)[]) =>
  console.log(`${name.padEnd(42)}${cells.map((cell) => String(cell).padStart(14)).join("")}`);

const arrow = kinds.some(({ convert, name }) => convert && convert !== "gz" && name.includes(options.only))
  ? pythonWithArrow()
  : null;

/** Converts the text at `path`, and returns the path of the new file; null when that is not possible. */
function converted(path: string, to: NonNullable<(typeof kinds)[number]["convert"]>): string | null {
  const target = to === "gz" ? `${path}.gz` : path.replace(/jsonl$/, to);
  if (to !== "gz" && !arrow) return null;
  const command = to === "gz" ? ["gzip", "-k", path] : [arrow ?? "", peer("tables.py"), "write", path, target];
  if (!Bun.spawnSync(command, { stderr: "inherit" }).success) return null;
  rmSync(path);
  return target;
}

try {
  for (const kind of kinds) {
    if (!kind.name.includes(options.only)) continue;
    const source = join(scratch, kind.file);
    write(source, kind, Number(options.mb) * MEGABYTE);
    const path = kind.convert ? converted(source, kind.convert) : source;
    if (!path) {
      console.log(`\n${kind.name}: left out, ${PYARROW} could not be installed`);
      rmSync(source);
      continue;
    }
    const size = statSync(path).size / MEGABYTE;
    const contenders: [string, string[]][] = [
      ["validation", [process.execPath, peer("validate-under-test.ts"), path, join(scratch, "out")]],
    ];
    if (kind.lines && !kind.convert)
      contenders.push(["split + JSON.parse (Bun)", [process.execPath, peer("parse-lines.ts"), path]]);
    if (kind.lines && python) contenders.push(["json.loads by line (Python)", [python, peer("parse_lines.py"), path]]);
    if (arrow && kind.convert && kind.convert !== "gz")
      contenders.push(["pyarrow to Python rows", [arrow, peer("tables.py"), "read", path]]);
    const results = new Map<string, Result[]>(contenders.map(([name]) => [name, []]));
    for (let round = 0; round < Number(options.rounds); round++)
      for (const [name, command] of contenders) results.get(name)?.push(run(command));
    const text = (results.get("validation")?.[0]?.textBytes ?? size * MEGABYTE) / MEGABYTE;
    console.log(`\n${kind.name}, ${Math.round(size)} MB${kind.convert ? `, ${Math.round(text)} MB of text` : ""}`);
    row("", ["MB/s a core", "MB/s by clock", "peak MB", "ratio"]);
    const ours = median((results.get("validation") ?? []).map((result) => result.cpuMs));
    for (const [name, all] of results) {
      const cpu = median(all.map((result) => result.cpuMs));
      const clock = median(all.map((result) => result.ms));
      const speeds = [Math.round(text / (cpu / 1000)), Math.round(text / (clock / 1000))];
      row(name, [...speeds, Math.round(Math.max(...all.map((result) => result.peakMb))), (cpu / ours).toFixed(2)]);
    }
    rmSync(path);
  }
  if (options.upload) await upload(Number(options.upload));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

/** Sends a form of `megabytes` to a new server and prints time and memory. */
async function upload(megabytes: number) {
  const live = await startLive();
  try {
    const path = join(scratch, "big.jsonl");
    write(path, kinds[0] as (typeof kinds)[number], megabytes * MEGABYTE);
    const form = new FormData();
    form.set("file", Bun.file(path), "big.jsonl");
    const began = performance.now();
    const answer = await fetch(`${live.url}/v1/datasets`, {
      method: "POST",
      body: form,
      headers: { authorization: `Bearer ${live.key}` },
    });
    if (!answer.ok) throw new Error(`upload answered ${answer.status}: ${await answer.text()}`);
    const { id } = (await answer.json()) as { id: string };
    const uploaded = performance.now();
    await until(
      "validation",
      async () =>
        (await live.call<{ version: { status: string } }>("GET", `/v1/datasets/${id}`)).version.status === "ready",
      600_000,
    );
    const peak = rssMb(live.pid(), true);
    console.log(
      `\nupload of ${megabytes} MB as a form: ${((uploaded - began) / 1000).toFixed(1)} s, validated ${((performance.now() - uploaded) / 1000).toFixed(1)} s later, server's peak memory ${peak} MB`,
    );
  } finally {
    await live.close();
  }
}
