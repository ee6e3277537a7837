/** Checks a file with focus-validator, the validator of the FOCUS specification, with the rules that it brings. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment } from "../../src/lib/child-environment.ts";

const HOME = join(import.meta.dir, "../../.cache/focus-env");
const SOURCE = join(HOME, "focus-validator-source");
/** Null when files can be checked here, else what is missing. */
export const focusMissing = existsSync(join(SOURCE, "focus_validator"))
  ? null
  : `no focus-validator at ${HOME} (the test command creates it)`;

/** What the specification asks only of those who have it: names of accounts, prices by unit, tags and so on. */
const APPLICABLE = [
  "ACCOUNT_NAMING_SUPPORTED",
  "NEGOTIATED_PRICING_SUPPORTED",
  "PUBLIC_PRICE_LIST_SUPPORTED",
  "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
  "TAGGING_SUPPORTED",
  "UNIT_PRICING_SUPPORTED",
  "USAGE_MEASUREMENT_SUPPORTED",
];

/**
 * Checks a file against FOCUS 1.2, without network.
 * @param only rules whose name contains it, and those they depend on
 * @throws Error with its output when the validator did not run
 */
export async function validateFocus(path: string, only?: string): Promise<{ passed: number; failed: string[] }> {
  const options = ["--validate-version", "1.2", "--block-download", "--output-type", "console"];
  const rules = ["--applicability-criteria", APPLICABLE.join(","), ...(only ? ["--filter-rules", only] : [])];
  const child = Bun.spawn(
    [join(HOME, "bin/python"), "-m", "focus_validator.main", "--data-file", path, ...options, ...rules],
    { cwd: SOURCE, env: cleanEnvironment(), stdin: "ignore", stdout: "pipe", stderr: "pipe" },
  );
  const [output, problem] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const summary = /^Total: \d+ \| Pass: (\d+) \| Fail: (\d+) \|/m.exec(output);
  if (!summary) throw new Error(`focus-validator gave no result: ${(output + problem).slice(-3000)}`);
  const failed = [...output.matchAll(/ (\S+): FAIL {2}\(/g)].map(([, rule]) => rule ?? "");
  if (failed.length !== Number(summary[2]))
    throw new Error(`failures of ${summary[0]} not found: ${output.slice(-3000)}`);
  return { passed: Number(summary[1]), failed };
}
