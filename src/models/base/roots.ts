/**
 * The directories that models may be imported from, and whether a path is inside them with all its links resolved.
 */
import { realpathSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import type { Ctx } from "../../ctx.ts";

/** The directories that an administrator may import from. */
export function importRoots(ctx: Ctx): string[] {
  const { import_roots: named, prepared_models: prepared, data_dir: dataDir } = ctx.config;
  const roots = named.length > 0 ? [...named] : [join(dataDir, "import")];
  if (prepared) roots.push(prepared);
  return roots.map((root) => resolve(root));
}

/** The real path of `path`; null when it does not exist or cannot be reached. */
export function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** The real path of `path` when it is inside one of `roots` with all links resolved; else null. */
export function realPathIn(path: string, roots: readonly string[]): string | null {
  const real = realPath(path);
  return real !== null && roots.some((root) => within(real, realPath(root))) ? real : null;
}

/** Whether `path` is inside one of `roots` without resolving links. */
export function isWrittenIn(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => within(resolve(path), root));
}

function within(path: string, root: string | null): boolean {
  return root !== null && (path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
}
