/** The test command reads what the runners report, and names the files that are worth a second try. */
import { expect, test } from "bun:test";
import { failedFiles, failedTests, readJUnit } from "../scripts/test.ts";

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

test("the counts of both runners", () => {
  expect(readJUnit(BUN)).toEqual({ passed: 2, failed: 1, skipped: 1 });
  expect(readJUnit(PYTEST)).toEqual({ passed: 2, failed: 1, skipped: 0 });
});

test("a runner that left no report has failed", () => {
  expect(readJUnit(null)).toEqual({ passed: 0, failed: 1, skipped: 0 });
});

test("the files of failed tests", () => {
  expect(failedFiles(BUN)).toEqual(["./test/a.test.ts"]);
  expect(failedFiles(PYTEST)).toEqual(["tests/test_train.py"]);
  expect(failedFiles("")).toEqual([]);
});

test("the names of failed tests", () => {
  expect(failedTests(BUN)).toEqual(["test/a.test.ts > bad"]);
  expect(failedTests(PYTEST)).toEqual(["tests.test_train > test_bad"]);
  expect(failedTests("")).toEqual([]);
});
