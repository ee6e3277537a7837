/** Reads the JUnit reports of bun test and pytest: the counts, the failed tests and their files. */
import { XMLParser } from "fast-xml-parser";

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export interface Report extends Counts {
  /** Files with a failed test, as the runner takes them: `./test/….test.ts` of bun, `tests/….py` of pytest. */
  files: string[];
  /** The failed tests as `FILE > NAME`; pytest names the module. */
  names: string[];
}

type Attributes = Record<string, string | undefined>;
type Case = Attributes & { failure?: unknown; error?: unknown };
interface Suite {
  file?: string;
  failures?: string;
  testsuite?: Suite[];
  testcase?: Case[];
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  isArray: (name) => ["testsuite", "testcase", "failure", "error"].includes(name),
});

/** The suites of a report in their order, nested ones after the one that holds them. */
const suitesIn = (suites: Suite[] = []): Suite[] => suites.flatMap((suite) => [suite, ...suitesIn(suite.testsuite)]);

const failedCases = (suite: Suite): Case[] =>
  (suite.testcase ?? []).filter((one) => one.failure !== undefined || one.error !== undefined);

function countsOf(totals: Attributes[]): Counts {
  const sum = (name: string) => totals.reduce((total, one) => total + Number(one[name] ?? 0), 0);
  const failed = sum("failures") + sum("errors");
  return { passed: sum("tests") - failed - sum("skipped"), failed, skipped: sum("skipped") };
}

/** A runner without a readable report counts as one failure. */
const CRASHED: Report = { passed: 0, failed: 1, skipped: 0, files: [], names: [] };

/** @param xml the report's text; null when the runner left none */
export function readReport(xml: string | null): Report {
  let root: (Suite & Attributes) | undefined;
  try {
    root = xml === null ? undefined : parser.parse(xml).testsuites;
  } catch {
    // Not XML: the runner ended while it wrote.
  }
  if (!root) return CRASHED;
  // Bun counts in the outermost element, pytest in its suites.
  const totals = root.tests === undefined ? ((root.testsuite ?? []) as Attributes[]) : [root];
  if (!totals.some((one) => one.tests !== undefined)) return CRASHED;
  const suites = suitesIn(root.testsuite);
  const failed = suites.flatMap(failedCases);
  // A file that does not load fails without a test case.
  const ofBun = suites.filter((suite) => Number(suite.failures ?? 0) > 0).flatMap((suite) => suite.file ?? []);
  // pytest names a file that does not load as the test.
  const moduleOf = (one: Case) => (one.classname || one.name) ?? "";
  const ofPytest = failed.filter((one) => !one.file).map((one) => `${moduleOf(one).replaceAll(".", "/")}.py`);
  return {
    ...countsOf(totals),
    files: [...new Set([...ofBun.map((file) => `./${file}`), ...ofPytest])],
    names: failed.map((one) => `${one.file || one.classname} > ${one.name}`),
  };
}
