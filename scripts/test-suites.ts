/** The suites of the test command: which files run together, what they need, and how they are run. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "./junit.ts";
import { CACHE, ROOT, say } from "./setup.ts";

/** With more failed files than this the machine's load is not the cause: no second run. */
const MOST_AGAIN = 5;

/** What a test file needs before it can run. */
type Need = "nothing" | "trainer" | "clients" | "focus" | "clouds" | "containers";

/** A file and everything it imports below test/. */
function withImports(path: string, found = new Map<string, string>()): Map<string, string> {
  if (found.has(path) || !existsSync(path)) return found;
  const text = readFileSync(path, "utf8");
  found.set(path, text);
  for (const [, name] of text.matchAll(/ from "(\.[^"]+)"/g)) {
    const next = join(path, "..", name ?? "");
    if (next.startsWith(join(ROOT, "test"))) withImports(next, found);
  }
  return found;
}

function needOf(file: string): Need {
  const path = join(ROOT, file);
  const files = withImports(path);
  if (files.has(join(ROOT, "test/support/docker.ts"))) return "containers";
  if (files.has(join(ROOT, "test/support/clients.ts"))) return "clients";
  if (files.has(join(ROOT, "test/support/focus-validator.ts"))) return "focus";
  if (files.get(path)?.includes("FTL_TEST_PRESIDIO")) return "focus";
  if (files.has(join(ROOT, "test/support/s3-servers.ts"))) return "clouds";
  if (files.get(path)?.includes("/support/sqld.ts")) return "clouds";
  // Real models, and a test that is skipped without the trainer's environment.
  const real =
    files.has(join(ROOT, "test/support/tiny.ts")) || /trainerMissing|TRAINER_ENV/.test(files.get(path) ?? "");
  if (!real) return files.has(join(ROOT, "test/support/moto.ts")) ? "clouds" : "nothing";
  return file.startsWith("./test/clients/") ? "clients" : "trainer";
}

/** Every test file of the project, from its root. */
export const allTests = (root = ROOT) =>
  [...new Bun.Glob("**/*.test.ts").scanSync(join(root, "test"))].sort().map((file) => `./test/${file}`);

/** Folders with at most this many files of one need share a process: loading the application takes 2 s of CPU time. */
const FEW = 7;
/** Files of such a process. */
const MOST_TOGETHER = 24;

/** Joins small groups of the same need. */
function joinSmall(groups: readonly [string, Need, string[]][]): [name: string, need: Need, files: string[]][] {
  const joined = groups.filter(([, , files]) => files.length > FEW);
  const small = groups.filter(([, , files]) => files.length <= FEW);
  for (const need of new Set(small.map(([, each]) => each))) {
    const files = small.flatMap(([, each, some]) => (each === need ? some : []));
    for (let n = 0; n * MOST_TOGETHER < files.length; n++)
      joined.push([`others-${need}-${n + 1}`, need, files.slice(n * MOST_TOGETHER, (n + 1) * MOST_TOGETHER)]);
  }
  return joined;
}

/** Test files by what they need and by their folder below test/; small groups are joined. */
export function testGroups(files: readonly string[]): [name: string, need: Need, files: string[]][] {
  const groups = new Map<string, [string, Need, string[]]>();
  for (const file of files) {
    const folder = file.replace(/^\.\/test\//, "").split("/");
    const need = needOf(file);
    const name = `${folder.length > 1 ? folder[0] : "whole"}${need === "nothing" ? "" : `-${need}`}`;
    const group = groups.get(name) ?? [name, need, []];
    group[2].push(file);
    groups.set(name, group);
  }
  return joinSmall([...groups.values()]);
}

/** One run of a test runner: `argv` gives its command for some of the files and a report. */
export interface Suite {
  name: string;
  need: Need;
  files: readonly string[];
  cwd: string;
  argv: (files: readonly string[], report: string, env: Record<string, string>) => string[];
}

/**
 * Runs a suite, or some files of it, and shows its output once it has ended; its JUnit report gives the counts, and the
 * kernel the CPU time.
 */
async function runTests(
  suite: Suite,
  files: readonly string[],
  env: Record<string, string>,
  part = suite.name,
): Promise<Report & { cpuS: number }> {
  // Loaded here because this script installs the packages.
  const { readReport } = await import("./junit.ts");
  const report = join(CACHE, "reports", `${part}.xml`);
  const output = join(CACHE, "reports", `${part}.log`);
  let code = 1;
  let cpuS = 0;
  // A runner without a report has crashed, whatever the tests did. A second crash counts as a failure.
  for (const attempt of [1, 2]) {
    // Bun writes over an existing file without emptying it.
    for (const path of [report, output, `${output}.err`]) rmSync(path, { force: true });
    const child = Bun.spawn(suite.argv(files, report, env), {
      cwd: suite.cwd,
      env: { ...process.env, ...env },
      stdout: Bun.file(output),
      stderr: Bun.file(`${output}.err`),
    });
    code = await child.exited;
    cpuS += Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
    for (const path of [output, `${output}.err`]) process.stdout.write(readFileSync(path));
    if (existsSync(report)) break;
    say(
      `The test runner itself crashed (${child.signalCode ?? `exit code ${code}`})${attempt === 1 ? "; starting it again" : ""}`,
    );
  }
  const result = readReport(existsSync(report) ? readFileSync(report, "utf8") : null);
  // A runner that failed without a failed test (a file that does not load) must not pass.
  return { ...result, cpuS, failed: code !== 0 ? Math.max(1, result.failed) : result.failed };
}

/** One suite with its counts. */
interface Outcome {
  suite: Suite;
  outcome: Report;
}

/** How many suites run at once on two cores: most of them wait half of their time for a process or a browser. */
const SLOTS = 3;
/** Suites of these needs share a server or an engine: one of each runs at a time. */
const ONE_AT_A_TIME: readonly Need[] = ["clouds", "containers"];
/** Suites while the tests are prepared, which takes a core too. */
const SLOTS_BEFORE = 2;

/**
 * Runs suites, each as soon as its needs are met and a slot is free, in the given order. Suites that need nothing run
 * while the trainer environment is prepared, fewer at a time.
 * @param ready the environment for tests with a need, as soon as it is met
 */
export async function runSuites(
  suites: readonly Suite[],
  ready: Record<Need, Promise<Record<string, string>>>,
): Promise<Outcome[]> {
  const waiting = [...suites];
  const running = new Map<Suite, Promise<void>>();
  const met = new Map<Need, Record<string, string>>();
  const unmet = new Map<string, Promise<void>>();
  for (const [need, env] of Object.entries(ready))
    unmet.set(
      need,
      env.then((value) => {
        met.set(need as Need, value);
        unmet.delete(need);
      }),
    );
  const done: Outcome[] = [];

  const fits = ({ need }: Suite) =>
    met.has(need) &&
    running.size < (met.has("trainer") ? SLOTS : SLOTS_BEFORE) &&
    !(ONE_AT_A_TIME.includes(need) && [...running.keys()].some((other) => other.need === need));

  async function run(suite: Suite): Promise<void> {
    say(`Running ${suite.name}`);
    const outcome = await runTests(suite, suite.files, met.get(suite.need) ?? {});
    const counts = `${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped`;
    say(`${suite.name}: ${counts}, ${Math.round(outcome.cpuS)} s of CPU time`);
    done.push({ suite, outcome });
    running.delete(suite);
  }

  while (waiting.length > 0 || running.size > 0) {
    const at = waiting.findIndex(fits);
    const [suite] = at < 0 ? [] : waiting.splice(at, 1);
    if (suite) running.set(suite, run(suite));
    else await Promise.race([...running.values(), ...unmet.values()]);
  }
  return done;
}

/**
 * Runs the files of failed tests again, each alone: real engines, browsers and clocks on a loaded machine sometimes
 * miss a deadline. A test that fails again has failed; a file that passes is reported as flaky.
 */
export async function runFailedAgain(suite: Suite, first: Report, env: Record<string, string>): Promise<Report> {
  if (first.failed === 0 || first.files.length === 0 || first.files.length > MOST_AGAIN) return first;
  let failed = 0;
  const names: string[] = [];
  for (const [n, file] of first.files.entries()) {
    say(`Again, alone: ${file}`);
    const again = await runTests(suite, [file], env, `${suite.name}-again-${n}`);
    failed += again.failed;
    names.push(...again.names);
    say(again.failed === 0 ? `FLAKY: ${file} failed once and passed alone` : `${file} failed again`);
  }
  const steady = Math.min(failed, first.failed);
  return { ...first, passed: first.passed + first.failed - steady, failed: steady, names };
}

/** A bun suite. A slow machine is not a failure: a test may take a minute, unless it asks for more. */
export function bunSuite(name: string, need: Need, files: readonly string[]): Suite {
  const argv = (some: readonly string[], report: string) => [
    process.execPath,
    "test",
    "--timeout=60000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...some,
  ];
  return { name: `bun-${name}`, need, files, cwd: ROOT, argv };
}

/** A test of each area that runs once more with every database on a libSQL server (test/support/app.ts). */
const ON_SQLD = [
  "accounts/team",
  "billing/collect",
  "billing/ledger",
  "billing/usage",
  "compute/hosts",
  "custody/subjects",
  "data/datasets",
  "notices/webhooks",
  "serving/gateway",
  "training/jobs",
  "training/trainer-protocol",
];

/** Those tests as a suite. */
export function sqldSuite(): Suite {
  const files = ON_SQLD.map((name) => `./test/${name}.test.ts`);
  const suite = bunSuite("sqld", "clouds", files);
  const argv: Suite["argv"] = (...given) => ["env", "FTL_TEST_DATABASE=sqld", ...suite.argv(...given)];
  return { ...suite, argv };
}

/** The trainer's test files that take longest, the longest first. */
const LONGEST = ["parallel", "train", "options", "methods", "adapters", "zero", "home", "serve_lifetime"];

/** All test files of the trainer, the longest first. */
function trainerTests(): string[] {
  const rank = (file: string) => {
    const at = LONGEST.indexOf(file.slice("trainer/tests/test_".length, -3));
    return at < 0 ? LONGEST.length : at;
  };
  const files = [...new Bun.Glob("trainer/tests/test_*.py").scanSync(ROOT)];
  return files.sort().sort((a, b) => rank(a) - rank(b));
}

/**
 * The trainer's tests as two suites, each a single-threaded process, for two cores. Tests of a file share what they
 * trained: it is not split.
 * @param given the files to run, in one suite; all without one
 */
export function pytestSuites(given: readonly string[]): Suite[] {
  if (given.length > 0) return [pytestSuite("pytest", given)];
  const files = trainerTests();
  // In turns, and the other way around in every second turn, so that both take as long.
  const half = (one: number) => files.filter((_, n) => [0, 1, 1, 0][n % 4] === one);
  return [0, 1].map((one) => pytestSuite(`pytest-${one + 1}`, half(one)));
}

function pytestSuite(name: string, files: readonly string[]): Suite {
  const argv = (some: readonly string[], report: string, env: Record<string, string>) => [
    join(env.FTL_TRAINER_ENV ?? "", "bin/python"),
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    `--junitxml=${report}`,
    ...some,
  ];
  return {
    name,
    need: "trainer",
    files: files.map((file) => join(ROOT, file)),
    cwd: join(ROOT, "trainer"),
    argv,
  };
}
