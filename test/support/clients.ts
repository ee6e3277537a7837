/** Runs test suites of client libraries with pytest, unchanged, and compares their failures with a list. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { XMLParser } from "fast-xml-parser";

/** The environment of other people's test suites and programs. */
export const CLIENTS = join(import.meta.dir, "../../.cache/clients-env");
/** The source of OpenAI's Python client, with its tests. */
export const OPENAI_SOURCE = join(CLIENTS, "openai-source");
/** Null when the suites can run here, else what is missing. */
export const clientsMissing = existsSync(join(OPENAI_SOURCE, "tests"))
  ? null
  : `no client suites at ${CLIENTS} (the test command creates them)`;

type Outcome = "passed" | "failed" | "skipped";
interface Case {
  classname: string;
  name: string;
  failure?: unknown;
  error?: unknown;
  skipped?: unknown;
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "",
  parseTagValue: false,
  isArray: (name) => name === "testcase",
});

/** Runs pytest. @returns the outcome of each test by its name, and pytest's output */
export async function runSuite(
  args: readonly string[],
  options: { cwd: string; env: Record<string, string>; report: string },
): Promise<{ outcomes: Map<string, Outcome>; output: string }> {
  rmSync(options.report, { force: true });
  const plain = ["-q", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings="];
  const child = Bun.spawn(
    [join(CLIENTS, "bin/python"), "-m", "pytest", ...plain, `--junitxml=${options.report}`, ...args],
    { cwd: options.cwd, env: { PATH: process.env.PATH ?? "", ...options.env }, stdout: "pipe", stderr: "pipe" },
  );
  const [output, problem] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  if (!existsSync(options.report)) throw new Error(`pytest left no report: ${(output + problem).slice(-3000)}`);
  const { testsuites } = parser.parse(readFileSync(options.report, "utf8"));
  const cases: Case[] = testsuites.testsuite.testcase ?? [];
  const outcomes = new Map<string, Outcome>();
  for (const one of cases) {
    const failed = one.failure !== undefined || one.error !== undefined;
    const name = `${one.classname.replace(/^tests\.(api_resources\.)?/, "")}.${one.name}`;
    outcomes.set(name, failed ? "failed" : one.skipped === undefined ? "passed" : "skipped");
  }
  return { outcomes, output };
}

/**
 * What differs from the list of expected failures, a JSON object of test names and reasons. The list may only shrink:
 * a test that passes must be removed from it.
 */
export function compareWithList(outcomes: ReadonlyMap<string, Outcome>, path: string) {
  const expected = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
  const failed = [...outcomes].filter(([, outcome]) => outcome === "failed").map(([name]) => name);
  return {
    unexpected: failed.filter((name) => !(name in expected)),
    passing: Object.keys(expected).filter((name) => outcomes.get(name) !== "failed"),
  };
}
