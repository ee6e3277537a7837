/**
 * Moves what is stored between the data directory and the bucket, one unit after the other, while the server works. It
 * may be interrupted at any place: a unit counts as moved once its bytes were read back with the right hash.
 */
import { sql } from "drizzle-orm";
import type { Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { sha256File } from "../lib/disk/manifest.ts";
import { keepUnit, releaseUnit } from "./keep.ts";
import { localUnit } from "./local.ts";
import { nameOf, storedRows, type Unit } from "./units.ts";

/** How long one step works, in milliseconds: then it says how far it came. */
const STEP_MS = 3_000;

/** What is left after a step, and where to continue. */
interface Step {
  /** Units and bytes that were to be moved when the step began. */
  units: number;
  bytes: number;
  moved: number;
  moved_bytes: number;
  /** Units that could not be moved, and why. They stay where they are. */
  failed: { unit: string; reason: string }[];
  /** The last unit of the step; null when nothing comes after it. */
  last: string | null;
}

const ON_DISK = sql`(
  select 'files/' || id as unit, org, bytes, json_array(json_object('path', '', 'sha256', sha256)) as hashes
    from file where deleted_at is null
  union all
  select 'datasets/' || v.id, v.org, v.bytes, '[]' from dataset_version v join dataset d on d.id = v.dataset_id
    where v.status = 'ready' and d.deleted_at is null
  union all
  select 'artifacts/' || id, org, bytes, files from artifact where status = 'complete'
  union all
  select 'archives/' || id, org, bytes, json_array(json_object('path', '', 'sha256', sha256))
    from archive where status = 'done'
)`;
const IN_BUCKET = sql`(select unit, max(org) as org, sum(bytes) as bytes, '[]' as hashes from stored_object group by unit)`;

interface Waiting {
  unit: string;
  org: string;
  bytes: number;
  hashes: string;
}

const unitOf = (name: string): Unit => {
  const [folder = "", id = ""] = name.split("/");
  return { folder: folder as Unit["folder"], id };
};

/** @throws AppError `no_bucket`, `wrong_store` when new bytes would still go to the other side */
function requireTarget(ctx: Ctx, to: "disk" | "s3"): void {
  if (!ctx.bucket)
    throw new AppError("conflict", "no_bucket", "No bucket is set. Set s3_bucket and its access key, then restart.");
  if (ctx.config.artifact_store !== to)
    throw new AppError(
      "conflict",
      "wrong_store",
      `artifact_store is ${ctx.config.artifact_store}, so new files would stay there. Set artifact_store to ${to}, restart, then migrate.`,
    );
}

/** @throws AppError when a copy on this machine is not what the bucket had */
async function takeBack(ctx: Ctx, unit: Unit): Promise<void> {
  const root = await localUnit(ctx, unit);
  for (const { path, sha256 } of await storedRows(ctx, nameOf(unit)))
    if ((await sha256File(path === "" ? root : `${root}/${path}`)) !== sha256)
      throw new AppError("conflict", "copy_damaged", `the copy of ${path || "the file"} has another hash`);
  await releaseUnit(ctx, unit);
}

async function move(ctx: Ctx, to: "disk" | "s3", { unit, org, hashes }: Waiting): Promise<void> {
  if (to === "disk") return takeBack(ctx, unitOf(unit));
  const known = (JSON.parse(hashes) as { path: string; sha256: string }[]).map(({ path, sha256 }) => [path, sha256]);
  const kept = await keepUnit(ctx, { ...unitOf(unit), org }, new Map(known as [string, string][]), { readBack: true });
  if (kept === 0) throw new AppError("gone", "bytes_missing", "its bytes are not on this machine");
}

/**
 * Moves units for a few seconds.
 * @param after continue behind this unit; empty = from the beginning
 * @throws AppError `no_bucket`, `wrong_store`, `object_store_unavailable`
 */
export async function migrationStep(
  ctx: Ctx,
  { to, dryRun, after }: { to: "disk" | "s3"; dryRun: boolean; after: string },
): Promise<Step> {
  requireTarget(ctx, to);
  const waiting =
    to === "disk"
      ? sql`from ${IN_BUCKET} u where u.unit > ${after}`
      : sql`from ${ON_DISK} u where u.unit > ${after}
          and not exists (select 1 from stored_object s where s.unit = u.unit)`;
  const [sum] = await ctx.db.all<{ units: number; bytes: number | null }>(
    sql`select count(*) as units, sum(u.bytes) as bytes ${waiting}`,
  );
  const step: Step = {
    units: sum?.units ?? 0,
    bytes: sum?.bytes ?? 0,
    moved: 0,
    moved_bytes: 0,
    failed: [],
    last: null,
  };
  if (dryRun || step.units === 0) return step;
  const until = ctx.clock.monotonic() + STEP_MS;
  const rows = await ctx.db.all<Waiting>(sql`select u.* ${waiting} order by u.unit limit 200`);
  for (const row of rows) {
    try {
      await move(ctx, to, row);
      step.moved++;
      step.moved_bytes += row.bytes;
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "unavailable") throw error;
      step.failed.push({ unit: row.unit, reason: error.message });
    }
    step.last = row.unit;
    if (ctx.clock.monotonic() > until || ctx.signal.aborted) break;
  }
  return step;
}
