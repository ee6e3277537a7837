/**
 * Which directories of this machine models may come from, and whether a path lies in them with all its links resolved.
 */
import { realpathSync } from "node:fs";
import { join, resolve, sep } from "node:path";
import type { Ctx } from "../../ctx.ts";

/** The directories an administrator may import from. */
export function importRoots(ctx: Ctx): string[] {
  const { import_roots: named, prepared_models: prepared, data_dir: dataDir } = ctx.config;
  const roots = named.length > 0 ? [...named] : [join(dataDir, "import")];
  if (prepared) roots.push(prepared);
  return roots.map((root) => resolve(root));
}

/** The real path of what is at `path`; null when nothing is there or it cannot be reached. */
export function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

/** The real path of `path` when that lies in one of `roots`, links on the way and in the roots resolved; else null. */
export function realPathIn(path: string, roots: readonly string[]): string | null {
  const real = realPath(path);
  return real !== null && roots.some((root) => within(real, realPath(root))) ? real : null;
}

/** Whether `path` as it is written lies in one of `roots`. */
export function isWrittenIn(path: string, roots: readonly string[]): boolean {
  return roots.some((root) => within(resolve(path), root));
}

function within(path: string, root: string | null): boolean {
  return root !== null && (path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
}
