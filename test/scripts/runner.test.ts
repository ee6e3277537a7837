/**
 * The test command finds the tests that its arguments name, reads the reports of the runners, and names the files to
 * run again.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { readReport } from "../../scripts/junit.ts";
import { chooseTests } from "../../scripts/test.ts";

const BUN = `<?xml version="1.0"?>
<testsuites name="bun test" tests="4" assertions="1" failures="1" skipped="1" time="0.01">
  <testsuite name="test/a.test.ts" file="test/a.test.ts" tests="2" assertions="1" failures="1" skipped="0" time="0.003">
    <testsuite name="x" file="test/a.test.ts" line="2" tests="2" assertions="1" failures="1" skipped="0" time="0">
      <testcase name="bad" classname="x" time="0.0001" file="test/a.test.ts"><failure type="AssertionError" message="no"/></testcase>
    </testsuite>
  </testsuite>
  <testsuite name="test/b.test.ts" file="test/b.test.ts" tests="2" assertions="0" failures="0" skipped="1" time="0.0003"/>
</testsuites>`;
const PYTEST = `<?xml version="1.0"?><testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="0" tests="3" time="1">
<testcase classname="tests.test_train" name="test_ok" time="0.1"/><testcase classname="tests.test_train" name="test_bad" time="0.1"><failure message="no">x</failure></testcase>
</testsuite></testsuites>`;

const counts = ({ passed, failed, skipped }: ReturnType<typeof readReport>) => ({ passed, failed, skipped });
const CRASHED = { passed: 0, failed: 1, skipped: 0, files: [], names: [] };

test("the counts of both runners", () => {
  expect(counts(readReport(BUN))).toEqual({ passed: 2, failed: 1, skipped: 1 });
  expect(counts(readReport(PYTEST))).toEqual({ passed: 2, failed: 1, skipped: 0 });
});

test.each([null, "", "<testsuites tests='3'", "<testsuites/>", "<html></html>"])(
  "the report %j is a failure",
  (xml) => {
    expect(readReport(xml)).toEqual(CRASHED);
  },
);

test("the files of failed tests", () => {
  expect(readReport(BUN).files).toEqual(["./test/a.test.ts"]);
  expect(readReport(PYTEST).files).toEqual(["tests/test_train.py"]);
});

test("the names of failed tests, as the source writes them", () => {
  expect(readReport(BUN).names).toEqual(["test/a.test.ts > bad"]);
  expect(readReport(PYTEST).names).toEqual(["tests.test_train > test_bad"]);
  expect(readReport(BUN.replace('"bad"', '"a &quot;b&quot; &lt; c"')).names).toEqual(['test/a.test.ts > a "b" < c']);
});

test("a long failure message with many entities is read", () => {
  const long = BUN.replace('message="no"', `message="${"&quot;".repeat(100_000)}"`);
  expect(counts(readReport(long))).toEqual({ passed: 2, failed: 1, skipped: 1 });
});

test("a file of pytest that does not load is named", () => {
  const report =
    '<testsuites><testsuite tests="1" errors="1" failures="0" skipped="0"><testcase classname="" name="tests.test_c"><error message="no">x</error></testcase></testsuite></testsuites>';
  expect(readReport(report)).toMatchObject({ failed: 1, files: ["tests/test_c.py"] });
});

test("a file that fails without a test case is named", () => {
  const report =
    '<testsuites tests="0" failures="1"><testsuite name="test/c.test.ts" file="test/c.test.ts" failures="1"/></testsuites>';
  expect(readReport(report)).toMatchObject({ failed: 1, files: ["./test/c.test.ts"] });
});

describe("arguments of the test command", () => {
  const root = mkdtempSync(join(tmpdir(), "ftl-runner-"));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  const files = [
    "test/cli/cli.test.ts",
    "test/accounts/gateway.test.ts",
    "test/lib/gateway-limits.test.ts",
    "test/training/jobs.test.ts",
    "test/e2e/gateway.test.ts",
    "test/serving/start.test.ts",
    "test/serving/gpu/many.test.ts",
    "test/lib/helper.ts",
    "trainer/tests/test_train.py",
  ];
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), "");
  }

  test.each([
    ["gateway", ["./test/accounts/gateway.test.ts", "./test/e2e/gateway.test.ts", "./test/lib/gateway-limits.test.ts"]],
    ["serving", ["./test/serving/gpu/many.test.ts", "./test/serving/start.test.ts"]],
    ["test/serving/", ["./test/serving/gpu/many.test.ts", "./test/serving/start.test.ts"]],
    ["serving/gpu", ["./test/serving/gpu/many.test.ts"]],
    ["./test/training/jobs.test.ts", ["./test/training/jobs.test.ts"]],
    ["test/cli/cli.test.ts", ["./test/cli/cli.test.ts"]],
  ])("%s", (word, expected) => {
    expect(chooseTests([word], root)).toEqual({ bun: expected, python: [] });
  });

  test("several arguments are combined, each file once; the trainer's files run with pytest", () => {
    expect(chooseTests(["e2e", "gateway", "trainer/tests/test_train.py"], root)).toEqual({
      bun: ["./test/accounts/gateway.test.ts", "./test/e2e/gateway.test.ts", "./test/lib/gateway-limits.test.ts"],
      python: ["trainer/tests/test_train.py"],
    });
    expect(chooseTests([], root)).toEqual({ bun: [], python: [] });
  });

  test.each(["gatewya", "test", "", "trainer/tests/test_none.py", "test/lib/gone.test.ts"])(
    "%j names no test and is refused",
    (word) => {
      expect(() => chooseTests([word], root)).toThrow(`No test is called "${word}"`);
    },
  );
});

describe("a script with something missing", () => {
  const ROOT = resolve(import.meta.dir, "../..");
  function run(...words: string[]): { code: number; err: string } {
    const gone = join(tmpdir(), "ftl-not-there");
    const env = {
      PATH: process.env.PATH ?? "",
      HOME: tmpdir(),
      FTL_TRAINER_ENV: gone,
      FTL_TEST_TINY_MODEL: gone,
      FTL_CHROMIUM: gone,
    };
    const child = Bun.spawnSync([process.execPath, ...words], { cwd: ROOT, env: { ...env, FTL_TEST_SMOLLM2: gone } });
    return { code: child.exitCode, err: child.stderr.toString() };
  }

  test.each([
    [["scripts/faults.ts"], ["no trainer environment", "no tiny model", "bun run test --prepare"]],
    [["scripts/matrix.ts"], ["no trainer environment", "bun run test --prepare"]],
    [
      ["scripts/bench.ts", "trainer", "some-model"],
      ["no trainer environment", "bun run test --prepare"],
    ],
    [
      ["scripts/bench.ts", "memory"],
      ["no trainer environment", "no SmolLM2 model", "bun run test --prepare"],
    ],
    [
      ["scripts/screenshots.ts", "out"],
      ["no Chromium", "apt-get install chromium"],
    ],
  ])(
    "%j reports what is missing, and the command that creates it",
    (words, expected) => {
      const { code, err } = run(...words);
      expect(code).not.toBe(0);
      for (const part of expected) expect(err).toContain(part);
      expect(err).not.toContain("ENOENT");
    },
    30_000,
  );

  test("an unknown argument ends the test command before anything is created", () => {
    expect(run("scripts/test.ts", "gatewya")).toMatchObject({
      code: 2,
      err: expect.stringContaining('No test is called "gatewya"'),
    });
    expect(run("scripts/test.ts", "--prepair")).toMatchObject({
      code: 2,
      err: expect.stringContaining("--prepair is unknown"),
    });
  }, 30_000);
});
