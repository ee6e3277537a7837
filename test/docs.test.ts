/** Documentation is checked against the program wherever it could become wrong unnoticed. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { cliDocs } from "../scripts/cli-docs.ts";
import { CONFIG_NAMES } from "../src/config.ts";
import { EVENT_TYPES, INSTALLATION_TYPES } from "../src/notices/events/types.ts";
import { AREAS, ROOMS } from "./support/areas.ts";

const ROOT = resolve(import.meta.dir, "..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const pages = [
  "README.md",
  "SECURITY.md",
  "CHANGELOG.md",
  ...new Bun.Glob("{docs,examples,bench,views,trainer}/*.md").scanSync(ROOT),
].sort();
/**
 * A path in a code span. Patterns, placeholders (`src/<room>/`, `test/**`) and hidden files (`compose/.env`) are left
 * out.
 */
const PATH = /`((?:src|views|plugins|trainer|test|scripts|bench|examples|compose|migrations)\/\w[\w./-]*)`/g;

describe("documentation", () => {
  test("docs/cli.md is the output of the program (bun run docs:cli writes it)", () => {
    expect(read("docs/cli.md")).toBe(cliDocs());
  });

  test("the page about notices has a line for every type of event, and for none that does not exist", () => {
    const rows = [...read("docs/notices.md").matchAll(/^\| ((?:`[a-z_.]+`(?:, )?)+) \|/gm)];
    const named = rows.flatMap(([, types = ""]) => {
      const [first = "", ...more] = [...types.matchAll(/`([a-z_.]+)`/g)].map((match) => match[1] as string);
      return [first, ...more.map((end) => first.replace(/\.[a-z_]+$/, end))];
    });
    const types = [...EVENT_TYPES, ...INSTALLATION_TYPES].filter((type) => !type.startsWith("security."));
    expect(named.filter((name) => name.includes(".")).sort()).toEqual([...types].sort());
  });

  test("the administrator guide names every setting, and none that does not exist", () => {
    const guide = read("docs/admin-guide.md");
    const named = [...guide.matchAll(/^\| `([a-z0-9_]+)` \|/gm)].map((match) => match[1] as string);
    expect(named.sort()).toEqual([...CONFIG_NAMES].sort());
  });

  test.each(pages)("the files that %s names exist", (page) => {
    const named = [...read(page).matchAll(PATH)].map((match) => match[1] as string);
    const missing = named.filter((path) => !existsSync(join(ROOT, path)));
    expect(missing).toEqual([]);
  });

  test("the page about the architecture names all areas and rooms in their order", () => {
    const rows = [...read("docs/architecture.md").matchAll(/^\| `([a-z]+)` \| ((?:`[a-z-]+`(?:, )?)*) ?\|/gm)];
    const listed = rows.map(([, area, rooms]) => [
      area,
      [...(rooms ?? "").matchAll(/`([a-z-]+)`/g)].map((one) => one[1]),
    ]);
    expect(listed).toEqual(AREAS.map((area) => [area, ROOMS[area] ?? []]));
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

  test("the scripts that the README names exist", () => {
    const scripts = Object.keys(JSON.parse(read("package.json")).scripts);
    const named = [...read("README.md").matchAll(/\bbun(?:@[\d.]+)? run ([a-z:-]+)/g)].map(
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

/** Anchors of a page's headings, as GitHub creates them. */
function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
