/** `storage migrate`: moves what is stored between the data directory and the bucket. */
import { formatBytes } from "../lib/text/format.ts";
import { command } from "./accounts.ts";
import { CONFIG_OPTIONS, EXIT, UsageError, type Verb } from "./command.ts";
import { createProgress } from "./progress.ts";

interface Step {
  units: number;
  bytes: number;
  moved: number;
  moved_bytes: number;
  failed: { unit: string; reason: string }[];
  last: string | null;
}

export const storageMigrate: Verb = {
  name: "storage migrate",
  summary: "Moves files, rows, checkpoints, exports and archives to the bucket, or back to the data directory.",
  options: {
    to: { value: "s3|disk", help: "where to; artifact_store must have this value already" },
    "dry-run": { help: "count what would be moved, and move nothing" },
    data: CONFIG_OPTIONS.data,
  },
  notes:
    "Works beside a running server and without one. After an interruption, run it again: what was moved is not moved twice. Every object is read back and checked against its hash before the other copy counts as unneeded. Exit code 1 when something could not be moved; it stays where it is.",
  async run(args) {
    const to = args.required("to");
    if (to !== "s3" && to !== "disk") throw new UsageError(`--to is s3 or disk, not ${to}`);
    const dryRun = args.on("dry-run");
    const progress = createProgress(process.stderr);
    let [after, moved, bytes, total] = ["", 0, 0, -1];
    const failed: Step["failed"] = [];
    for (;;) {
      const step = (await command(args, "storage.migrate", { to, dry_run: dryRun, after })) as unknown as Step;
      if (total < 0) total = step.bytes;
      if (dryRun) {
        process.stdout.write(`Would move ${step.units} units, ${formatBytes(step.bytes)}, to ${to}.\n`);
        return EXIT.ok;
      }
      moved += step.moved;
      bytes += step.moved_bytes;
      failed.push(...step.failed);
      if (step.last === null) break;
      after = step.last;
      progress.show(`${formatBytes(bytes)} of ${formatBytes(total)}`, total > 0 ? Math.min(1, bytes / total) : null);
    }
    progress.end();
    for (const { unit, reason } of failed) process.stderr.write(`not moved: ${unit}: ${reason}\n`);
    process.stdout.write(`Moved ${moved} units, ${formatBytes(bytes)}, to ${to}. Not moved: ${failed.length}.\n`);
    return failed.length > 0 ? EXIT.failed : EXIT.ok;
  },
};
