/** Documentation that can be wrong without anybody noticing is held against the program here. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { cliDocs } from "../scripts/cli-docs.ts";
import { CONFIG_NAMES } from "../src/config.ts";

const ROOT = resolve(import.meta.dir, "..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const pages = [
  "README.md",
  "SECURITY.md",
  "CHANGELOG.md",
  ...new Bun.Glob("{docs,examples,bench}/*.md").scanSync(ROOT),
];

describe("documentation", () => {
  test("docs/cli.md is what the program says (bun run docs:cli writes it)", () => {
    expect(read("docs/cli.md")).toBe(cliDocs());
  });

  test("the administrator guide names every setting, and none that does not exist", () => {
    const guide = read("docs/admin-guide.md");
    const named = [...guide.matchAll(/^\| `([a-z_]+)` \|/gm)].map((match) => match[1] as string);
    expect(named.sort()).toEqual([...CONFIG_NAMES].sort());
  });

  test.each(pages)("the links of %s lead somewhere", (page) => {
    const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] as string);
    const local = links.filter((link) => !/^[a-z]+:/.test(link));
    const broken = local.filter((link) => {
      const [path = "", anchor] = link.split("#");
      const file = path ? join(dirname(join(ROOT, page)), path) : join(ROOT, page);
      if (!existsSync(file)) return true;
      return anchor !== undefined && !headings(readFileSync(file, "utf8")).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  test("the README's scripts exist", () => {
    const scripts = Object.keys(JSON.parse(read("package.json")).scripts);
    const named = [...read("README.md").matchAll(/\bbun(?:@[\d.]+)? run ([a-z:]+)/g)].map(
      (match) => match[1] as string,
    );
    expect(named.length).toBeGreaterThan(4);
    expect(named.filter((name) => !scripts.includes(name))).toEqual([]);
  });

  test("the pinned Bun is the same everywhere", () => {
    const project = JSON.parse(read("package.json"));
    const pin = project.engines.bun;
    expect(project.packageManager).toBe(`bun@${pin}`);
    for (const file of ["README.md", ".ci/run"])
      for (const [, version] of read(file).matchAll(/bun@([\d.]+\d)/g)) expect(version, file).toBe(pin);
  });
});

/** Anchors of a page's headings, as GitHub makes them. */
function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
