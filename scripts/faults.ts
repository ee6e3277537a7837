/**
 * `bun run faults [--full | --remote] [--write] [FILE…]`: injects every fault of the table and prints row, fault, times
 * injected, expected and observed result. Exit code 1 when a row failed.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { RowReport } from "../test/faults/support/row.ts";
import { MODELS, needs, ROOT, say } from "./setup.ts";

const HELP = `bun run faults [--full | --remote] [--write] [FILE…]

Runs the tests of test/faults, one file after the other, and prints what was injected, expected and seen.
  --full   the long forms: 100 kills of the server, long locks, more repetitions (about half an hour)
  --remote the table of rented machines, at fake clouds, and of their mailbox: a few minutes
  --write  puts the table into docs/faults.md
Needs what \`bun run test --prepare\` makes: run that once before. Rows that cannot run on this machine say why.`;

/** Files whose long forms wait for ten minutes: started first. */
const LONG = ["test/faults/docker.test.ts", "test/faults/durability.test.ts"];

const DOCS = join(ROOT, "docs/faults.md");
const MARKS = ["<!-- table of the last run -->", "<!-- end of table -->"] as const;
const REMOTE_MARKS = ["<!-- table of rented machines -->", "<!-- end of rented machines -->"] as const;
/** Faults of rented machines: a table of their own. */
const REMOTE = ["test/faults/remote.test.ts", "test/faults/mailbox.test.ts", "test/faults/aws.test.ts"];

interface Form {
  full: boolean;
  remote: boolean;
}

function readReport(path: string): RowReport[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as RowReport);
}

/** Runs one file. A file that fails without a failed row (it does not load, its setup fails) becomes a row itself. */
async function runFile(file: string, report: string, { full, remote }: Form): Promise<RowReport[]> {
  rmSync(report, { force: true });
  const models = join(MODELS, "tiny");
  const child = Bun.spawn([process.execPath, "test", "--timeout=60000", file], {
    cwd: ROOT,
    env: {
      ...process.env,
      FTL_FAULTS_REPORT: report,
      ...(full ? { FTL_FAULTS_FULL: "1" } : {}),
      ...(remote ? { FTL_FAULTS_REMOTE: "1" } : {}),
      ...(process.env.FTL_TEST_TINY_MODEL || !existsSync(models) ? {} : { FTL_TEST_TINY_MODEL: models }),
    },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [, words, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const rows = readReport(report);
  if (code === 0 || rows.some((row) => !row.ok)) return rows;
  const seen = words.split("\n").find((line) => line.includes("error:")) ?? `exit code ${code}`;
  const broken = {
    row: "-",
    provider: "-",
    fault: basename(file),
    expected: "it runs",
    times: 0,
    seen,
    ok: false,
    seconds: 0,
  };
  return [...rows, broken];
}

const orderOf = ({ row, provider }: RowReport) =>
  `${row.replace(/^\d+/, (digits) => digits.padStart(3, "0")).padEnd(8)}${provider}`;
const cell = (text: string) => text.replace(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 300);

/** The table as Markdown. */
function tableOf(rows: readonly RowReport[]): string {
  const head = ["row", "provider", "fault", "times", "expected", "seen"];
  const lines = [...rows]
    .sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
    .map((one) => [
      one.row,
      one.provider,
      one.fault,
      String(one.times),
      one.expected,
      `${one.ok ? "" : "FAILED: "}${one.seen}`,
    ]);
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.map(cell).join(" | ")} |`).join("\n");
}

function writeDocs(table: string, { full, remote }: Form): void {
  const text = readFileSync(DOCS, "utf8");
  const marks = remote ? REMOTE_MARKS : MARKS;
  const [from, to] = marks.map((mark) => text.indexOf(mark));
  if (from === undefined || to === undefined || from < 0 || to < from)
    throw new Error(`no place for the table in ${DOCS}`);
  const day = new Date().toISOString().slice(0, 10);
  const command = `bun run faults${full ? " --full" : ""}${remote ? " --remote" : ""}`;
  const body = `${marks[0]}\n\nBy \`${command}\` on ${day}:\n\n${table}\n\n`;
  writeFileSync(DOCS, text.slice(0, from) + body + text.slice(to));
}

async function main(args: string[]): Promise<number> {
  if (args.includes("--help")) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  const form: Form = { full: args.includes("--full"), remote: args.includes("--remote") };
  const { full, remote } = form;
  // Rented machines have trainers of their own.
  if (!remote) needs("trainer environment", "tiny model");
  const named = args.filter((arg) => !arg.startsWith("--"));
  const all = [...new Bun.Glob("test/faults/*.test.ts").scanSync(ROOT)].sort();
  const files = remote ? REMOTE : named.length > 0 ? named : all.filter((file) => !REMOTE.includes(file));
  const rows: RowReport[] = [];
  const left = LONG.filter((name) => files.some((file) => file.endsWith(name))).concat(
    files.filter((file) => !LONG.some((name) => file.endsWith(name))),
  );
  const lane = async (n: number) => {
    const report = join(process.env.TMPDIR ?? "/tmp", `ftl-faults-${process.pid}-${n}.jsonl`);
    for (let file = left.shift(); file; file = left.shift()) {
      say(`Injecting the faults of ${basename(file, ".test.ts")}`);
      const found = await runFile(file, report, form);
      for (const one of found)
        say(
          `  ${one.ok ? "ok    " : "FAILED"} ${one.row.padEnd(4)} ${one.provider.padEnd(8)} ${one.fault} (${one.seconds} s)`,
        );
      rows.push(...found);
    }
    rmSync(report, { force: true });
  };
  // The long forms mostly wait: two at a time.
  await Promise.all(full ? [lane(0), lane(1)] : [lane(0)]);
  const table = tableOf(rows);
  process.stdout.write(`${table}\n`);
  if (args.includes("--write")) writeDocs(table, form);
  const failed = rows.filter((one) => !one.ok).length;
  const injected = rows.reduce((sum, one) => sum + one.times, 0);
  say(`${rows.length} rows, ${injected} faults injected, ${failed} rows failed`);
  return failed === 0 && rows.length > 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
