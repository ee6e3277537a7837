/**
 * `bun run build [--outfile FILE]`: compiles the binary, with pages, migrations, trainer sources and examples inside,
 * and runs it once from another directory.
 */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { BunPlugin } from "bun";
import { EMBEDDED, VERSION } from "../src/assets.ts";

const ROOT = resolve(import.meta.dir, "..");
/** Every module that runs in a worker is a separate entry; it keeps its path below src. */
const ENTRIES = ["src/main.ts", ...new Bun.Glob("src/**/worker.ts").scanSync(ROOT)].map((path) => join(ROOT, path));

/** Bun's name of each target, and the package with libSQL's native code for it. */
const TARGETS: Record<string, string> = {
  "bun-linux-x64": "@libsql/linux-x64-gnu",
  "bun-linux-arm64": "@libsql/linux-arm64-gnu",
  "bun-darwin-x64": "@libsql/darwin-x64",
  "bun-darwin-arm64": "@libsql/darwin-arm64",
};

/**
 * libsql builds the name of its native package at run time, so the bundler cannot see it and the binary would fail
 * without node_modules. This replaces that line with a literal for the target.
 */
function literalLibsql(nativePackage: string): BunPlugin {
  const dynamic = /return require\(`@libsql\/\$\{target\}`\);/g;
  return {
    name: "literal-libsql",
    setup(build) {
      build.onLoad({ filter: /node_modules[\\/]libsql[\\/]index\.js$/ }, async ({ path }) => {
        const source = await Bun.file(path).text();
        if (source.split(dynamic).length !== 2)
          throw new Error(
            `${path} no longer holds exactly one "${dynamic}": look how libsql loads its native code now`,
          );
        return { contents: source.replace(dynamic, `return require("${nativePackage}/index.node");`), loader: "js" };
      });
    },
  };
}

/**
 * Copies exactly the embedded files into `folder`; returns its top folders. Only complete folders keep their paths when
 * embedded.
 */
function gatherEmbedded(folder: string): string[] {
  for (const pattern of EMBEDDED)
    for (const path of new Bun.Glob(pattern).scanSync({ cwd: ROOT })) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      copyFileSync(join(ROOT, path), join(folder, path));
    }
  return readdirSync(folder).sort();
}

/** Compiles to `outfile`. */
export async function build(outfile: string, target = `bun-${process.platform}-${process.arch}`): Promise<void> {
  const nativePackage = TARGETS[target];
  if (!nativePackage) throw new Error(`no such target: ${target}; there are ${Object.keys(TARGETS).join(", ")}`);
  mkdirSync(dirname(outfile), { recursive: true });
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  const scratch = mkdtempSync(join(ROOT, ".cache/build-"));
  const gathered = join(scratch, "assets");
  const assets = gatherEmbedded(gathered);
  // Source maps are embedded, and written beside the file as well: only the file is copied out of the scratch
  // directory.
  const compiled = join(scratch, "out", basename(outfile));
  // Embedded paths are relative to the working directory.
  const back = process.cwd();
  process.chdir(gathered);
  const result = await Bun.build({
    entrypoints: ENTRIES,
    root: join(ROOT, "src"),
    target: "bun",
    // Compiled ahead of time: the first answer comes in half the time.
    format: "esm",
    bytecode: true,
    // Whitespace stays: without it Elysia cannot read what handlers use, and prints their code.
    minify: { whitespace: false, syntax: true, identifiers: false },
    sourcemap: "inline",
    define: { "process.env.NODE_ENV": JSON.stringify("production") },
    plugins: [literalLibsql(nativePackage)],
    compile: {
      outfile: compiled,
      target: target as Bun.Build.CompileTarget,
      assets,
      autoloadBunfig: false,
      autoloadDotenv: false,
    },
  }).finally(() => process.chdir(back));
  if (!result.success) throw new AggregateError(result.logs, "the build failed");
  rmSync(outfile, { force: true });
  copyFileSync(compiled, outfile);
  chmodSync(outfile, 0o755);
  rmSync(scratch, { recursive: true });
}

/** Runs the binary from an empty directory: it must print its version and migrate an empty data directory. */
function smoke(outfile: string): void {
  const empty = mkdtempSync(join(tmpdir(), "ftl-smoke-"));
  try {
    for (const [args, said] of [
      [["--version"], VERSION],
      [["migrate", "--data", join(empty, "data")], "schema"],
    ] as const) {
      const run = Bun.spawnSync([outfile, ...args], { cwd: empty, env: { HOME: empty } });
      if (run.exitCode !== 0 || !run.stdout.toString().includes(said))
        throw new Error(`the binary fails at ${args.join(" ")}: ${run.stdout}${run.stderr}`);
    }
  } finally {
    rmSync(empty, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      outfile: { type: "string", default: join(ROOT, "dist/finetune-lab") },
      target: { type: "string" },
    },
  });
  const outfile = resolve(values.outfile);
  await build(outfile, values.target);
  const native = `bun-${process.platform}-${process.arch}`;
  if (!values.target || values.target === native) smoke(outfile);
  process.stdout.write(`${outfile}  ${(statSync(outfile).size / 1e6).toFixed(0)} MB\n`);
}
