/** Reads the imports and exports of source files as text, for the tests of the house rules. */
import { dirname, join, relative, resolve } from "node:path";

const ROOT = join(import.meta.dir, "../..");

export interface Import {
  from: string;
  /** Path from the top of the repository, or the package's name. */
  to: string;
  typeOnly: boolean;
  /** What is imported, by its name there; `*` for all of it. */
  names: string[];
}

const IMPORT =
  /^\s*(?:import|export)\s+(type\s+)?([^"';]*?\sfrom\s+)?["']([^"']+)["']|(?:\{([^{}]*)\}\s*=\s*await\s+)?\bimport\(\s*["']([^"']+)["']\s*\)/gm;

/** `a, type b as c` to the names as the other file has them. */
function namesIn(list: string): string[] {
  return list
    .split(",")
    .map((name) =>
      (
        name
          .trim()
          .replace(/^type\s+/, "")
          .split(/\s+as\s+|\s*:/)[0] ?? ""
      ).trim(),
    )
    .filter((name) => name !== "");
}

/** Every import and re-export of a file, packages included. An example in a comment is no import. */
export function importsOf(path: string, source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "");
  return [...code.matchAll(IMPORT)].map((match) => {
    const target = match[3] ?? match[5] ?? "";
    const listed = /\{([^}]*)\}/.exec(match[2] ?? "")?.[1] ?? match[4];
    const onlyTypes = listed?.split(",").every((name) => !name.trim() || name.trim().startsWith("type "));
    const dynamic = match[5] !== undefined;
    return {
      from: path,
      to: target.startsWith(".") ? relative(ROOT, resolve(ROOT, dirname(path), target)) : target,
      typeOnly: match[1] !== undefined || (!dynamic && onlyTypes === true && !/^\s*\w/.test(match[2] ?? "")),
      names: listed === undefined ? ["*"] : namesIn(listed),
    };
  });
}

/** Names that a file exports by a declaration. */
const EXPORT = /^export (?:declare )?(?:async )?(?:function\*?|const|let|class|interface|type|enum) (\w+)/gm;

/** `path: name` of every export among `paths` that none of `imports` names. */
export function unusedExports(paths: string[], imports: Import[], read: (path: string) => string): string[] {
  const used = new Map<string, Set<string>>();
  for (const { to, names } of imports) {
    const known = used.get(to) ?? new Set<string>();
    for (const name of names) known.add(name);
    used.set(to, known);
  }
  return paths.flatMap((path) => {
    const names = used.get(path) ?? new Set<string>();
    if (names.has("*")) return [];
    return [...read(path).matchAll(EXPORT)]
      .map((match) => match[1] ?? "")
      .filter((name) => !names.has(name))
      .map((name) => `${path}: ${name}`);
  });
}
