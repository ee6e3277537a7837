/** The house rules that a compiler cannot check: who may import whom, how long a file may be, what may not be written. A failure names the file and the rule. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
/** Rooms from left to right: a room may use the service and model of those before it. */
const ROOMS = [
  "audit",
  "auth",
  "quotas",
  "plugins",
  "compute",
  "datasets",
  "models",
  "billing",
  "graders",
  "metrics",
  "jobs",
  "trainers",
  "evaluations",
  "exports",
  "sweeps",
  "deployments",
  "gateway",
  "analytics",
  "admin",
  "home",
];
/** Rooms of many small files without a barrel: who needs a name imports the file that owns it. */
const OWNERS = ["jobs"];
/** Files outside any room that wire everything together, and may import everything. */
const WIRING = ["src/app.ts", "src/main.ts", "src/server.ts"];
/** Files outside any room that every room may import. */
const COMMON = ["src/ctx.ts", "src/errors.ts", "src/assets.ts"];
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

interface Import {
  from: string;
  /** Path from the top of the repository, or the package's name. */
  to: string;
  typeOnly: boolean;
}

const IMPORT =
  /^\s*(?:import|export)\s+(type\s+)?([^"';]*?\sfrom\s+)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/gm;

function importsOf(path: string): Import[] {
  // Comments out first: an example in one is no import.
  const code = read(path).replace(/\/\*[\s\S]*?\*\//g, "");
  return [...code.matchAll(IMPORT)].map((match) => {
    const target = match[3] ?? match[4] ?? "";
    const names = /\{([^}]*)\}/.exec(match[2] ?? "")?.[1];
    const onlyTypes = names?.split(",").every((name) => !name.trim() || name.trim().startsWith("type "));
    const bare = !target.startsWith(".");
    return {
      from: path,
      to: bare ? target : relative(ROOT, resolve(ROOT, dirname(path), target)),
      typeOnly: match[1] !== undefined || (onlyTypes === true && !/^\s*\w/.test(match[2] ?? "")),
    };
  });
}

const imports = new Map([...sources, ...scripts].map((path) => [path, importsOf(path)]));
const all = sources.flatMap((path) => imports.get(path) ?? []);

/** The room of a path, or the folder of src it lies in, or null. */
const folderOf = (path: string) => /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
const roomOf = (path: string) => {
  const folder = folderOf(path);
  return folder && ROOMS.includes(folder) ? folder : null;
};
const nameOf = (path: string) =>
  path
    .split("/")
    .at(-1)
    ?.replace(/\.\w+$/, "") ?? "";
const isApi = (path: string) => roomOf(path) !== null && /(^|-)(api|pages)$/.test(nameOf(path));

const isPages = (path: string) => roomOf(path) !== null && /(^|-)pages$/.test(nameOf(path));

/** Each broken rule as one line; the test shows them all. */
const breaking = (found: Import[], rule: (each: Import) => boolean) =>
  found.filter(rule).map((each) => `${each.from} imports ${each.to}`);

describe("who may import whom", () => {
  test("the reader of imports tells values, types and packages apart", () => {
    const of = (from: string, to: string) => imports.get(from)?.find((each) => each.to === to);
    expect(of("src/ctx.ts", "src/errors.ts")?.typeOnly).toBe(false);
    expect(of("src/ctx.ts", "src/config.ts")?.typeOnly).toBe(true);
    expect(of("src/app.ts", "elysia")?.typeOnly).toBe(false);
    expect(of("src/app.ts", "src/db/lock.ts")?.typeOnly).toBe(false);
    expect(all.length).toBeGreaterThan(300);
  });

  test("the folders of src are the rooms, lib, contract, db, http and cli", () => {
    const folders = [...new Set(sources.map(folderOf).filter((name) => name !== null))];
    expect(folders.filter((name) => ![...ROOMS, "lib", "contract", "db", "http", "cli"].includes(name))).toEqual([]);
  });

  test("lib and contract import nothing of ours beyond themselves and the errors", () => {
    const leaf = (each: Import) => /^src\/(lib|contract)\//.test(each.from) && /^(src|views|plugins)\//.test(each.to);
    const allowed = (each: Import) => /^src\/(lib|contract)\//.test(each.to) || each.to === "src/errors.ts";
    expect(breaking(all, (each) => leaf(each) && !allowed(each))).toEqual([]);
  });

  test("the database imports no room", () => {
    expect(breaking(all, (each) => folderOf(each.from) === "db" && roomOf(each.to) !== null && !each.typeOnly)).toEqual(
      [],
    );
  });

  test("a room imports only service and model of the rooms to its left; pages, which nobody imports, of any room", () => {
    const wrong = breaking(all, (each) => {
      const [from, to] = [roomOf(each.from), roomOf(each.to)];
      if (!from || !to || from === to) return false;
      if (ROOMS.indexOf(to) > ROOMS.indexOf(from) && !isPages(each.from)) return true;
      if (OWNERS.includes(to)) return false;
      return !["service", "model"].includes(nameOf(each.to)) && !SHARED.has(each.to);
    });
    expect(wrong).toEqual([]);
  });

  test("rooms import no wiring, no command line and only types of the configuration", () => {
    const wrong = breaking(all, (each) => {
      if (!roomOf(each.from) && folderOf(each.from) !== "http") return false;
      if (each.to === "src/config.ts") return !each.typeOnly;
      if (COMMON.includes(each.to)) return false;
      return WIRING.includes(each.to) || folderOf(each.to) === "cli";
    });
    expect(wrong).toEqual([]);
  });

  test("services never import Elysia or views", () => {
    const inside = (path: string) => roomOf(path) !== null && !isApi(path);
    const web = (to: string) => /^@?elysia/.test(to) || to.startsWith("views/") || to === "src/http/html.ts";
    expect(breaking(all, (each) => inside(each.from) && web(each.to) && !each.typeOnly)).toEqual([]);
  });

  test("api and pages never import the database, and services never import them", () => {
    expect(
      breaking(all, (each) => isApi(each.from) && (each.to.startsWith("src/db/") || each.to.startsWith("drizzle"))),
    ).toEqual([]);
    expect(breaking(all, (each) => isApi(each.to) && !WIRING.includes(each.from) && !isApi(each.from))).toEqual([]);
  });

  test("views import no service and no database", () => {
    const wrong = breaking(all, (each) => {
      if (!each.from.startsWith("views/") || each.typeOnly) return false;
      return /^src\/(db|http|cli)\//.test(each.to) || (roomOf(each.to) !== null && nameOf(each.to) !== "model");
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

  test("no file imports itself in a circle, types included", () => {
    const edges = new Map<string, string[]>();
    for (const each of all) if (text.has(each.to)) edges.set(each.from, [...(edges.get(each.from) ?? []), each.to]);
    const state = new Map<string, "open" | "done">();
    const circles: string[] = [];
    const visit = (path: string, trail: string[]) => {
      if (state.get(path) === "done") return;
      if (state.get(path) === "open") {
        circles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
        return;
      }
      state.set(path, "open");
      for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
      state.set(path, "done");
    };
    for (const path of sources) visit(path, []);
    expect(circles).toEqual([]);
  });

  test("every package imported is a dependency", () => {
    const project = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const builtin = (name: string) => /^(node:|bun$|bun:)/.test(name);
    const known = new Set(Object.keys(project.dependencies));
    const packageOf = (to: string) =>
      to
        .split("/")
        .slice(0, to.startsWith("@") ? 2 : 1)
        .join("/");
    const wrong = breaking(
      all,
      (each) =>
        !/^(src|plugins|views|package\.json|node_modules|trainer\/finetune_trainer\/spec\/support\.json)/.test(
          each.to,
        ) &&
        !builtin(each.to) &&
        !known.has(packageOf(each.to)),
    );
    expect(wrong).toEqual([]);
  });
});

/** Files beside service and model that rooms to the right may use, each with its reason. */
const SHARED = new Map<string, string>([
  ["src/compute/environment/install.ts", "the environment installer is used by installs of models too"],
  ["src/compute/environment/pip.ts", "installs of models run pip as the environment installer does"],
  ["src/compute/hosts/service.ts", "hosts are read by the start page, the queue and the hosts page"],
  ["src/compute/hosts/allocations.ts", "jobs take GPUs and let go of them in their own transactions"],
  ["src/compute/providers/host.ts", "the tools that compute hands to providers"],
  ["src/accounts/auth/revocation.ts", "whoever answers for long follows the access it answers by"],
  ["src/accounts/organizations/users.ts", "the administration page manages accounts"],
  ["src/accounts/organizations/invitations.ts", "the administration page invites people"],
]);

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

  test("every file opens with a sentence that says what it is for", () => {
    const opens = (path: string) => {
      const head = read(path).replace(/^#!.*\n/, "");
      if (path.endsWith(".py")) return /^("""|# )\S.{15,}/.test(head) || head.trim() === "";
      return /^(\/\*\*?[\s*]+|\/\/ )\S.{15,}/.test(head);
    };
    expect(code.filter((path) => !opens(path))).toEqual([]);
  });
});

/** Text that must not be written, where, and why. Tokens are put together so that this file does not name itself. */
const FORBIDDEN: { token: RegExp; why: string; where?: (path: string) => boolean; except?: string[] }[] = [
  { token: new RegExp(`\\bas ${"any"}\\b(?=\\s*(?:[;,)\\]}>.]|$))`), why: "tell the compiler the truth" },
  { token: new RegExp(`@ts-${"(ignore|expect-error|nocheck)"}`), why: "mend the type" },
  { token: new RegExp(`biome-${"ignore"}|type: ${"ignore"}|\\bno${"qa"}\\b`), why: "mend what the linter found" },
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
    where: (path) => path.startsWith("src/") || path.startsWith("plugins/") || path.startsWith("views/"),
    // conform.ts puts a canary into its own environment, to see that no provider passes it on; main.ts writes NODE_ENV;
    // child-environment.ts passes on a list.
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
  {
    token: new RegExp("dangerouslySetInner" + "HTML"),
    why: "text is escaped by the renderer",
    where: (path) => path.startsWith("views/") || path.startsWith("src/"),
  },
];

/** Files with state in the module, each with its reason. */
const MODULE_STATE = new Map<string, string>([
  ["src/db/built.ts", "queries are built once for each database, below the context"],
  ["src/http/request-state.ts", "belongs to a request, not to a context"],
  ["src/http/peer.ts", "belongs to a configuration"],
  ["src/serving/gateway/usage.ts", "usage that waits to be written"],
  ["src/serving/deployments/runtime.ts", "what is known of endpoints between looks"],
  ["src/training/metrics/recent.ts", "newest points, kept for open streams"],
  ["src/training/metrics/stream.ts", "open streams of each user"],
]);

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

  test("no new state lives in a module: services keep theirs with perContext", () => {
    const found = sources.filter((path) => path.startsWith("src/") && /\bnew WeakMap\b/.test(read(path)));
    expect(found.filter((path) => !MODULE_STATE.has(path))).toEqual([]);
  });

  test("no star re-exports: import the file that owns the name", () => {
    const found = sources.filter(
      (path) => /^export \* from/m.test(read(path)) || (nameOf(path) === "index" && path.startsWith("src/")),
    );
    expect(found).toEqual([]);
  });
});

describe("the JSON API", () => {
  test("every route under /v1 says what it does and where it belongs", async () => {
    const { createTestApp } = await import("./support/app.ts");
    const app = await createTestApp();
    const silent = app.app.routes
      .filter((route) => route.path.startsWith("/v1/"))
      .filter((route) => !route.hooks.detail?.summary || !route.hooks.detail?.tags?.length)
      .map((route) => `${route.method} ${route.path}`);
    await app.close();
    expect(app.app.routes.length).toBeGreaterThan(3);
    expect(silent).toEqual([]);
  });
});
