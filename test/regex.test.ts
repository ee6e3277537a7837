/** No regular expression of the server, its pages or its plugins takes long on long hostile text. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type FoundRegex, regexesOf } from "./support/regexes.ts";

const ROOT = resolve(import.meta.dir, "..");
/** All of them together take under a minute; one that does not end is stopped here. */
const LIMIT_MS = 240_000;

const paths = ["src/**/*.{ts,tsx}", "plugins/**/*.{ts,tsx}", "views/**/*.{ts,tsx,js}"]
  .flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(ROOT)])
  .filter((path) => !path.endsWith(".d.ts"))
  .sort();
const text = new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), "utf8")]));
const found = [...text].flatMap(([path, source]) => regexesOf(path, source));

/** Expressions that take long, each by its own way of counting; the test must find all of them. */
const SLOW: FoundRegex[] = [
  { path: "adjacent", source: "^\\s*```(?:json)?\\s*([\\s\\S]*?)\\s*```\\s*$", flags: "" },
  { path: "at the end", source: "\\s+$", flags: "" },
  { path: "before a word", source: "(\\d+)gb", flags: "" },
  { path: "dashes", source: "^-+|-+$", flags: "g" },
  { path: "after a word", source: "begin .*end", flags: "" },
  { path: "to a bracket", source: "^a .*\\(ID: (x-[^)]+)\\)", flags: "" },
  { path: "two runs of digits", source: "^[0-9]*[.,]?[0-9]+$", flags: "" },
  { path: "nested", source: "^(a+)+$", flags: "" },
];

/** What was said of each of `regexes` that is slow; one that never ends is the last. */
async function slowOf(regexes: FoundRegex[], limitMs: number): Promise<Map<FoundRegex, string>> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "support/regex-probe.ts")], {
    stdin: new Blob([JSON.stringify(regexes)]),
    stdout: "pipe",
    stderr: "inherit",
    timeout: limitMs,
    killSignal: "SIGKILL",
  });
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  const slow = new Map<FoundRegex, string>();
  const at = (line: string | undefined) => regexes[Number(line?.split(" ")[1])];
  for (const line of lines) {
    const regex = at(line);
    if (line.startsWith("slow ") && regex) slow.set(regex, line.split(" ").slice(2).join(" "));
  }
  const last = lines.at(-1);
  const stuck = at(last);
  if (last !== "done" && stuck) slow.set(stuck, `did not end within ${limitMs / 1000} s`);
  else if (last !== "done") throw new Error(`the probe failed: ${lines.slice(-3).join(" | ")}`);
  return slow;
}

const shown = ({ path, source, flags }: FoundRegex) => `${path}: /${source}/${flags}`;

test("the reader of literals distinguishes them from divisions, strings and comments", () => {
  const source = `
    // /no/
    const a = /x\\/[/]y/gu, b = 1 / a.length / 2, c = "/no/", d = \`\${a.replace(/q'/, "")} /no/ \${[1, 2].map((n) => n / 2)}\`;
    const e = (of: number) => ({ of, rank: of / 3 / b });
    if (a) /z+/.test(c);
    const f = <p title="/no/">it's / not / one {c.replace(/w/, "/")}</p>;
    return /r/;`;
  expect(regexesOf("a.tsx", source).map(shown)).toEqual([
    "a.tsx: /x\\/[/]y/gu",
    "a.tsx: /q'/",
    "a.tsx: /z+/",
    "a.tsx: /w/",
    "a.tsx: /r/",
  ]);
});

test("every expression is written as a literal, so that all are found here", () => {
  const made = [...text].filter(([, source]) => /\bRegExp\(/.test(source)).map(([path]) => path);
  expect(made).toEqual([]);
  expect(found.length).toBeGreaterThan(200);
  for (const { source, flags } of found) expect(() => new RegExp(source, flags)).not.toThrow();
});

test("slow expressions of every kind are found", async () => {
  // The last one never ends: it is stopped.
  const slow = [...(await slowOf(SLOW.slice(0, -1), 60_000)).keys(), ...(await slowOf(SLOW.slice(-1), 5000)).keys()];
  expect(slow.map(({ path }) => path)).toEqual(SLOW.map(({ path }) => path));
}, 90_000);

test(
  "none takes longer than its text: quadratic, cubic and endless ones are refused",
  async () => {
    const unique = [...new Map(found.map((regex) => [`/${regex.source}/${regex.flags}`, regex])).values()];
    const slow = await slowOf(unique, LIMIT_MS);
    expect([...slow].map(([regex, why]) => `${shown(regex)} took ${why}`)).toEqual([]);
  },
  LIMIT_MS + 30_000,
);
