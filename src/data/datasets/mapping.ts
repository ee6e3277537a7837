/** The mapping of a dataset version: what is proposed, what it would make of the first rows, and that of other data. */
import { and, desc, eq, isNotNull, isNull } from "drizzle-orm";
import * as v from "valibot";
import type { Actor, Ctx } from "../../ctx.ts";
import { dataset, datasetVersion } from "../../db/schema/datasets.ts";
import { AppError } from "../../errors.ts";
import { id } from "../../lib/request-fields.ts";
import { Mapping, MappingInput } from "../validation/mapping/model.ts";
import { type Preview, previewOf } from "../validation/mapping/preview.ts";
import { Reading } from "../validation/rows/report.ts";
import { findVersion, versionOf } from "./versions.ts";

const MAX_REUSED = 50;

export const PreviewRequest = v.strictObject({ version: v.optional(id), mapping: MappingInput });

const PreviewRows = {
  /** Why the mapping cannot read the file; null when it can. */
  error: v.nullable(v.string()),
  rows: v.array(
    v.strictObject({
      number: v.number(),
      row: v.nullable(v.record(v.string(), v.unknown())),
      problems: v.array(v.string()),
    }),
  ),
};

/** The mapping of a version with what it reads, in the order of the file. */
export const MappingView = v.strictObject({
  object: v.literal("dataset.mapping"),
  version_id: v.string(),
  ...v.omit(Reading, ["rows"]).entries,
  preview: v.strictObject(PreviewRows),
});

export const PreviewView = v.strictObject({ object: v.literal("dataset.mapping.preview"), ...PreviewRows });

/** A preview in the form of the API. */
export const previewView = ({ error, rows }: Preview) => ({
  error,
  rows: rows.map((each) => ({ ...each, row: each.row as Record<string, unknown> | null })),
});

/**
 * The fields of a version's file, with the mapping in use and the proposed one.
 * @throws AppError `no_reading` when no row could be read, or the version was validated by an earlier release
 */
export async function readingOf(ctx: Ctx, actor: Actor, datasetId: string, versionId?: string) {
  const version = await versionOf(ctx, actor, datasetId, versionId);
  const reading = version.report?.mapping;
  if (!reading)
    throw new AppError(
      "conflict",
      "no_reading",
      `The fields of version ${version.id} are not known: no row could be read, or it is older than mappings. Create a new version.`,
    );
  return { version, reading };
}

/** The mapping of a version with a preview. */
export async function mappingView(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  versionId?: string,
): Promise<v.InferOutput<typeof MappingView>> {
  const { version, reading } = await readingOf(ctx, actor, datasetId, versionId);
  const { rows: _, ...rest } = reading;
  const preview = previewView(previewOf(reading, reading.used ?? reading.proposed ?? {}));
  return { object: "dataset.mapping", version_id: version.id, ...rest, preview };
}

/** Versions with a mapping, newest first, one for each dataset: to use their mapping for another file. */
export async function reusableMappings(ctx: Ctx, actor: Actor): Promise<{ id: string; name: string }[]> {
  const rows = await ctx.db
    .select({ id: dataset.id, name: dataset.name })
    .from(datasetVersion)
    .innerJoin(dataset, eq(dataset.id, datasetVersion.datasetId))
    .where(and(eq(datasetVersion.org, actor.org), isNull(dataset.deletedAt), isNotNull(datasetVersion.mapping)))
    .orderBy(desc(datasetVersion.createdAt))
    .limit(MAX_REUSED);
  return [...new Map(rows.map((row) => [row.id, row])).values()];
}

/**
 * The mapping of a dataset's newest version, or of a version.
 * @param of `ds_…` or `dsv_…`
 * @throws AppError `mapping_not_found`
 */
export async function mappingFrom(ctx: Ctx, actor: Actor, of: string): Promise<Mapping> {
  const version = of.startsWith("ds_") ? await versionOf(ctx, actor, of) : await findVersion(ctx, actor, of);
  const mapping = version?.mapping;
  if (mapping) return v.parse(Mapping, mapping);
  throw new AppError("invalid", "mapping_not_found", `${of} has no mapping to use.`, { param: "mapping_from" });
}
