/**
 * Files embedded in the program (migrations, trainer sources, plugin template, example data): one loader for a source
 * checkout and for the compiled binary.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import project from "../package.json" with { type: "json" };

/**
 * True inside the compiled binary, where every module lives in one virtual directory and embedded files keep their
 * paths below it.
 */
export const isCompiled = /^(\/\$bunfs\/|[A-Z]:[\\/]~BUN)/.test(import.meta.dir);

/** Version of this build. */
export const VERSION: string = project.version;

const ROOT = isCompiled ? import.meta.dir : resolve(import.meta.dir, "..");

/**
 * The embedded files, as globs from the top of the repository. scripts/build.ts embeds exactly these, and development
 * uses only files that match them, so that nothing works there that the binary would miss.
 */
export const EMBEDDED = [
  "migrations/**/*.{sql,json}",
  "trainer/finetune_trainer/**/*.{py,json,jinja}",
  "trainer/requirements*.{in,txt}",
  "trainer/pyproject.toml",
  "plugins/template/**/*",
  "src/contract/{provider,spec,data-settings}.ts",
  "compose/**/*",
  "examples/*.{jsonl,md,py,ts}",
] as const;

/**
 * Path of an embedded file or folder, such as `migrations`. node:fs reads it from a checkout and from the binary; other
 * programs can read it only from a checkout.
 */
export function assetPath(path: string): string {
  const full = join(ROOT, path);
  if (!existsSync(full)) throw new Error(`${path} is not part of this build`);
  return full;
}

/** Paths of all embedded files below `folder`, relative to it, sorted. */
export function listAssets(folder: string): string[] {
  const globs = EMBEDDED.map((pattern) => new Bun.Glob(pattern));
  return readdirSync(assetPath(folder), { recursive: true })
    .map((name) => String(name).replaceAll("\\", "/"))
    .filter((name) => globs.some((glob) => glob.match(`${folder}/${name}`)))
    .sort();
}

/** Hex sha256 over names and contents of all embedded files below `folder`. */
export function assetsHash(folder: string): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const name of listAssets(folder)) {
    const content = readFileSync(join(assetPath(folder), name));
    hasher.update(`${name}\0${content.length}\0`).update(content);
  }
  return hasher.digest("hex");
}

/**
 * Writes the embedded files below `folder` into the new directory `target`, completely or not at all. An existing
 * target is left unchanged.
 */
export function unpackAssets(folder: string, target: string): void {
  if (existsSync(target)) return;
  const staging = `${target}.${process.pid}.tmp`;
  rmSync(staging, { recursive: true, force: true });
  for (const name of listAssets(folder)) {
    const to = join(staging, name);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, readFileSync(join(assetPath(folder), name)));
    chmodSync(to, 0o644);
  }
  try {
    renameSync(staging, target);
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
}
