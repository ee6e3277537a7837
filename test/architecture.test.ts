/**
 * The rules that a compiler cannot check: which imports are allowed, how long a file may be, which text is forbidden. A
 * failure names the file and the rule.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { OF_ORGANIZATION, OF_USER, STAYS } from "../src/erasure/tables.ts";
import { AREAS, ROOMS } from "./support/areas.ts";
import { type Import, importsOf, unusedExports } from "./support/imports.ts";

const ROOT = join(import.meta.dir, "..");
/** Files outside any area that wire everything together and may import everything. */
const WIRING = ["src/app.ts", "src/background.ts", "src/main.ts", "src/routes.ts", "src/server.ts"];
/** Files outside any area that every area may import; they import only lib, contract and db. */
const COMMON = ["src/ctx.ts", "src/errors.ts", "src/assets.ts", "src/config.ts", "src/roles.ts"];
const CAP = 400;

const scan = (patterns: string[]) => patterns.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(ROOT)]).sort();
const sources = scan(["src/**/*.{ts,tsx}", "plugins/**/*.ts", "views/**/*.{ts,tsx}"]);
const scripts = scan(["scripts/*.ts", "bench/*.ts", "test/**/*.ts", "examples/*.ts"]);
const python = scan(["trainer/**/*.py", "plugins/**/*.py"]).filter((path) => !path.includes("__pycache__"));
const styles = scan(["views/**/*.{css,js}"]);
const text = new Map(
  [...sources, ...scripts, ...python, ...styles].map((path) => [path, readFileSync(join(ROOT, path), "utf8")]),
);
const read = (path: string) => text.get(path) ?? "";
const imports = new Map([...sources, ...scripts].map((path) => [path, importsOf(path, read(path))]));
const all = sources.flatMap((path) => imports.get(path) ?? []);

/** `training` of src/training/jobs/store.ts, or null outside the areas. */
const areaOf = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
/** `jobs` of src/training/jobs/store.ts, or null at the top of an area. */
const roomOf = (path: string) => /^src\/[^/]+\/([^/]+)\/./.exec(path)?.[1] ?? null;
const isService = (path: string) => areaOf(path) !== null && !["http", "api", "cli"].includes(areaOf(path) ?? "");
const isHttp = (to: string) => /^@?elysia/.test(to) || to.startsWith("views/") || to.startsWith("src/http/");

/** Each broken rule as one line; the test shows them all. */
const breaking = (found: Import[], rule: (each: Import) => boolean) =>
  found.filter(rule).map((each) => `${each.from} imports ${each.to}`);

/** The cycles of a graph given as `from` to the set of `to`, each as `a -> b -> a`. */
function cyclesOf(edges: Map<string, Set<string>>): string[] {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (node: string, trail: string[]) => {
    if (state.get(node) === "done") return;
    if (state.get(node) === "open") {
      cycles.push([...trail.slice(trail.indexOf(node)), node].join(" -> "));
      return;
    }
    state.set(node, "open");
    for (const next of edges.get(node) ?? []) visit(next, [...trail, node]);
    state.set(node, "done");
  };
  for (const node of edges.keys()) visit(node, []);
  return cycles;
}

/** The import graph with every file replaced by what `of` says; files without one are left out. */
function graphOf(of: (path: string) => string | null): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>();
  for (const each of all) {
    const [from, to] = [of(each.from), of(each.to)];
    if (!from || !to || from === to) continue;
    edges.set(from, (edges.get(from) ?? new Set()).add(to));
  }
  return edges;
}

describe("who may import whom", () => {
  test("the reader of imports finds values, types and packages", () => {
    const of = (from: string, to: string) => imports.get(from)?.find((each) => each.to === to);
    expect(of("src/ctx.ts", "src/roles.ts")?.typeOnly).toBe(false);
    expect(of("src/ctx.ts", "src/config.ts")?.typeOnly).toBe(true);
    expect(of("src/app.ts", "elysia")?.typeOnly).toBe(false);
    expect(of("src/app.ts", "src/db/lock.ts")?.names).toContain("acquireLock");
    expect(all.length).toBeGreaterThan(300);
  });

  test("the folders of src are the areas, and their folders the rooms", () => {
    expect([...new Set(sources.map(areaOf))].filter((name) => name && !AREAS.includes(name))).toEqual([]);
    const unknown = sources.filter((path) => {
      const rooms = ROOMS[areaOf(path) ?? ""];
      return rooms !== undefined && !rooms.includes(roomOf(path) ?? "");
    });
    expect(unknown).toEqual([]);
  });

  test("an area imports only the areas before it", () => {
    const wrong = breaking(all, (each) => {
      const [from, to] = [areaOf(each.from), areaOf(each.to)];
      return from !== null && to !== null && AREAS.indexOf(to) > AREAS.indexOf(from);
    });
    expect(wrong).toEqual([]);
  });

  test("a room imports only the rooms of its area before it", () => {
    const wrong = breaking(all, (each) => {
      const area = areaOf(each.from) ?? "";
      const rooms = ROOMS[area];
      if (!rooms || areaOf(each.to) !== area) return false;
      return rooms.indexOf(roomOf(each.to) ?? "") > rooms.indexOf(roomOf(each.from) ?? "");
    });
    expect(wrong).toEqual([]);
  });

  test("areas import no wiring, and configuration only as a type", () => {
    const wrong = breaking(all, (each) => {
      if (areaOf(each.from) === null || areaOf(each.from) === "cli") return false;
      if (each.to === "src/config.ts") return !each.typeOnly;
      return WIRING.includes(each.to);
    });
    expect(wrong).toEqual([]);
    const common = breaking(
      all,
      (each) =>
        COMMON.includes(each.from) &&
        each.to.startsWith("src/") &&
        !COMMON.includes(each.to) &&
        !/^src\/(lib|contract|db)\//.test(each.to),
    );
    expect(common).toEqual([]);
  });

  test("services import neither Elysia nor views nor http", () => {
    expect(breaking(all, (each) => isService(each.from) && isHttp(each.to))).toEqual([]);
  });

  test("API routes and pages import no database", () => {
    const wrong = breaking(all, (each) => {
      if (areaOf(each.from) !== "api" && !each.from.startsWith("views/")) return false;
      return /^(src\/db\/(?!schema\/)|drizzle)/.test(each.to) || (each.to.startsWith("src/db/") && !each.typeOnly);
    });
    expect(wrong).toEqual([]);
  });

  test("views other than page routes import no service", () => {
    const isRoute = (path: string) => /^views\/pages\/.*(routes|page-data|form|templates)\.tsx?$/.test(path);
    const wrong = breaking(all, (each) => {
      if (!each.from.startsWith("views/") || isRoute(each.from) || each.typeOnly) return false;
      return /^src\/(db|http|api|cli)\//.test(each.to) || /\/service\.ts$/.test(each.to);
    });
    expect(wrong).toEqual([]);
  });

  test("provider plugins import types of the contract and nothing else of ours", () => {
    const wrong = breaking(all, (each) => {
      if (!each.from.startsWith("plugins/") || each.to.startsWith("plugins/")) return false;
      if (each.to.startsWith("src/contract/")) return !each.typeOnly;
      return each.to.startsWith("src/") || each.to.startsWith("views/");
    });
    expect(wrong).toEqual([]);
  });

  test("no file, room or area is part of an import cycle, types included", () => {
    const known = new Set(sources);
    expect(cyclesOf(graphOf((path) => (known.has(path) ? path : null)))).toEqual([]);
    expect(cyclesOf(graphOf((path) => (roomOf(path) ? `${areaOf(path)}/${roomOf(path)}` : null)))).toEqual([]);
    expect(cyclesOf(graphOf(areaOf))).toEqual([]);
  });

  test("every package imported is a dependency", () => {
    const project = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const known = new Set(Object.keys(project.dependencies));
    const packageOf = (to: string) =>
      to
        .split("/")
        .slice(0, to.startsWith("@") ? 2 : 1)
        .join("/");
    const ours = /^(src|plugins|views|package\.json|node_modules|trainer\/finetune_trainer\/[\w/]*support\.json)/;
    const builtin = /^(node:|bun$|bun:)/;
    expect(
      breaking(all, (each) => !ours.test(each.to) && !builtin.test(each.to) && !known.has(packageOf(each.to))),
    ).toEqual([]);
  });

  test("every export is imported somewhere", () => {
    // The contract and the plugin template are for outsiders; drizzle reads the schema by its exports.
    const open = /^(src\/contract\/|src\/db\/schema\/|plugins\/template\/)/;
    const checked = [...sources, ...scripts].filter((path) => !open.test(path));
    expect(unusedExports(checked, [...imports.values()].flat(), read)).toEqual([]);
  });
});

test("src/erasure/tables.ts decides for every table what a deletion erases", () => {
  const tables = scan(["src/db/schema/*.ts"]).flatMap((path) =>
    [...read(path).matchAll(/sqliteTable\(\s*"(\w+)"/g)].map(([, name = ""]) => name),
  );
  const decided = new Set([OF_ORGANIZATION, OF_USER, STAYS].flatMap((group) => Object.keys(group)));
  expect(tables.length).toBeGreaterThan(50);
  expect({
    undecided: tables.filter((name) => !decided.has(name)),
    unknown: [...decided].filter((name) => !tables.includes(name)),
  }).toEqual({ undecided: [], unknown: [] });
});

describe("how files look", () => {
  const code = [...sources, ...scripts, ...python, ...styles];

  test(`no file is longer than ${CAP} lines`, () => {
    const lengths = code.map((path) => ({ path, lines: read(path).split("\n").length - 1 }));
    const sorted = lengths.filter(({ path }) => sources.includes(path)).sort((a, b) => a.lines - b.lines);
    const at = (share: number) => sorted[Math.floor(sorted.length * share)]?.lines ?? 0;
    console.log(
      `sources: ${sorted.length} files, median ${at(0.5)} lines, p90 ${at(0.9)}, longest ${sorted.at(-1)?.lines}`,
    );
    expect(lengths.filter(({ lines }) => lines > CAP)).toEqual([]);
    expect(at(0.5)).toBeLessThan(200);
  });

  test("no folder of src or the trainer holds more than 25 files", () => {
    const counts = new Map<string, number>();
    for (const path of [...sources.filter((path) => path.startsWith("src/")), ...python]) {
      const folder = path.slice(0, path.lastIndexOf("/"));
      if (!folder.includes("/tests") && folder !== "src/api") counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
    expect([...counts].filter(([, count]) => count > 25)).toEqual([]);
  });

  test("every file opens with a sentence that says what it is for", () => {
    const opens = (path: string) => {
      const head = read(path).replace(/^#!.*\n/, "");
      if (path.endsWith(".py")) return /^("""|# )\S.{15,}/.test(head) || head.trim() === "";
      return /^(\/\*\*?[\s*]+|\/\/ )\S.{15,}/.test(head);
    };
    expect(code.filter((path) => !opens(path))).toEqual([]);
  });
});

const inProduct = (path: string) => /^(src|plugins|views)\//.test(path);
/** Text that must not be written, where, and why. Tokens are put together so that this file does not name itself. */
const FORBIDDEN: { token: RegExp; why: string; where?: (path: string) => boolean; except?: string[] }[] = [
  { token: new RegExp(`\\bas ${"any"}\\b(?=\\s*(?:[;,)\\]}>.]|$))`), why: "give the compiler the real type" },
  { token: new RegExp(`@ts-${"(ignore|expect-error|nocheck)"}`), why: "fix the type" },
  { token: new RegExp(`biome-${"ignore"}|type: ${"ignore"}|\\bno${"qa"}\\b`), why: "fix what the linter found" },
  { token: new RegExp(`\\b(TO${"DO"}|FIX${"ME"}|XX${"X"})\\b`), why: "do it or leave it" },
  {
    token: new RegExp(`\\.(on${"ly"}|to${"do"})\\(`),
    why: "every test runs",
    where: (path) => path.startsWith("test/"),
  },
  {
    token: new RegExp(
      `Bun\\.${"\\$"}|(?<!\\.)\\bexec${"(Sync)?"}\\(|\\bexec${"(Sync)?"}\\b.* from "(node:)?child_process"|shell:\\s*true|os\\.${"system"}|shell=${"True"}`,
    ),
    why: "programs are started with an argument array, never through a shell",
  },
  {
    token: new RegExp(`(process|Bun|import\\.meta)\\.${"env"}\\b`),
    why: "only config.ts reads the environment",
    where: inProduct,
    // conformance-run.ts puts a canary into its own environment, to see that no provider passes it on; main.ts writes
    // NODE_ENV; child-environment.ts passes on a list.
    except: [
      "src/config.ts",
      "src/compute/providers/conformance-run.ts",
      "src/main.ts",
      "src/lib/child-environment.ts",
    ],
  },
  {
    token: new RegExp(`\\beval\\(|new ${"Function"}\\(`),
    why: "no code made of text",
    where: (path) => !path.endsWith(".py"),
  },
  { token: new RegExp(`(?<![\\w.])/(?:wo${"rk"}|ro${"ot"}|home/[a-z]+)/`), why: "no path of one machine" },
  { token: new RegExp(`dangerouslySetInner${"HTML"}`), why: "text is escaped by the renderer", where: inProduct },
  {
    token: /^(export )?(const|let) \w+(: [^=]+)? = new (WeakMap|WeakSet|Map|Set)(<[^(]*>)?\(\);?$|^(export )?let /,
    why: "state lives in ctx, not in a module",
    where: (path) => /^(src|plugins)\//.test(path),
  },
  { token: /\.\.\.\{/, why: "a spread of a literal hides excess properties from the compiler" },
  { token: /\.\.\.\[[^[\]]*\](?!\s*\.)\s*[,)\]}]/, why: "a spread of a literal only steers the formatter" },
];

describe("what is not written", () => {
  for (const { token, why, where, except } of FORBIDDEN)
    test(`${why} (${token.source.slice(0, 40)})`, () => {
      const found = [...sources, ...scripts, ...python, ...styles]
        .filter((path) => (where?.(path) ?? true) && !except?.includes(path))
        .flatMap((path) =>
          read(path)
            .split("\n")
            .map((line, at) => ({ path, line, at })),
        )
        .filter(({ line }) => token.test(line))
        .map(({ path, line, at }) => `${path}:${at + 1}: ${line.trim().slice(0, 120)}`);
      expect(found).toEqual([]);
    });

  test("JSON reaches SQL through sqlJson and jsonText (src/db/json.ts), which keep it readable", () => {
    const inSql = /json_(each|extract|tree|set|insert|patch)\(|->>/;
    const bare = sources.filter((path) => inSql.test(read(path)) && /JSON\.stringify\(/.test(read(path)));
    expect(bare.filter((path) => path !== "src/db/json.ts")).toEqual([]);
    expect(sources.filter((path) => /sql(<[^`]*>)?`[^`]*\$\{JSON\.stringify/.test(read(path)))).toEqual([]);
    expect(sources.filter((path) => /mode: ["']json["']/.test(read(path)))).toEqual([]);
    expect(sources.filter((path) => /\bjsonText\(/.test(read(path))).length).toBeGreaterThan(5);
  });

  test("no re-exports: import the file that owns the name", () => {
    const found = sources.filter(
      (path) =>
        /^export (\*|(type )?\{[^}]*\}) from/m.test(read(path)) ||
        (/\/index\.tsx?$/.test(path) && path.startsWith("src/")),
    );
    expect(found).toEqual([]);
  });
});

describe("the JSON API", () => {
  test("every route under /v1 names its summary, its tag and its answer", async () => {
    const { createTestApp } = await import("./support/app.ts");
    const app = await createTestApp();
    const silent = app.app.routes
      .filter((route) => route.path.startsWith("/v1/"))
      .filter(({ hooks: { detail } }) => !detail?.summary || !detail?.tags?.length || !detail?.responses)
      .map((route) => `${route.method} ${route.path}`);
    await app.close();
    expect(app.app.routes.length).toBeGreaterThan(3);
    expect(silent).toEqual([]);
  });
});
