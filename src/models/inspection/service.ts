/** The loss-mask inspector: a page of a dataset's rows with every token's part in the training, under a base model. */
import * as v from "valibot";
import type { RowType } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { readRows } from "../../data/datasets/rows.ts";
import { versionOf } from "../../data/datasets/versions.ts";
import { AppError } from "../../errors.ts";
import { baseModelDir, baseModelRef, listCatalogue, requireReadyBase } from "../base/service.ts";
import { inspectRows, type SeenRow } from "./process.ts";

const whole = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,9}$/, "must be a whole number"), v.transform(Number))]),
    v.integer("must be a whole number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );
const id = v.pipe(v.string(), v.maxLength(200));

export const SeenQuery = v.strictObject({
  /** The default base model when it is left out. */
  base_model: v.optional(id),
  version: v.optional(id),
  split: v.optional(v.picklist(["train", "holdout"]), "train"),
  /** Longest row in tokens; 2,048 or the base model's context when it is left out. */
  max_length: v.optional(whole(8, 1_048_576)),
  loss_on: v.optional(v.picklist(["completion", "all"]), "completion"),
  after: v.optional(whole(0, 999_999_999), 0),
  limit: v.optional(whole(1, 20), 5),
});
export type SeenQuery = v.InferOutput<typeof SeenQuery>;

export interface Seen {
  versionId: string;
  rowType: RowType;
  baseModel: string;
  maxLength: number;
  lossOn: SeenQuery["loss_on"];
  rows: SeenRow[];
  /** Cursor of the next page. */
  next: number | null;
}

const USUAL_LENGTH = 2048;

/** The base model asked for, else the default one, else the first that is ready. @throws AppError `no_base_model` */
async function baseOf(ctx: Ctx, actor: Actor, asked: string | undefined) {
  const ready = (await listCatalogue(ctx, actor)).filter((base) => base.status === "ready" && base.license.accepted);
  const found = asked ?? (ready.find((base) => base.default) ?? ready[0])?.id;
  if (found) return requireReadyBase(ctx, actor, found);
  throw new AppError(
    "conflict",
    "no_base_model",
    "No base model is installed yet, and tokens are those of a base model's tokenizer. Install one first.",
    { param: "base_model" },
  );
}

/**
 * `signal` ends the waiting, not the answer. @throws AppError of the dataset, of the base model, and those of
 * `inspectRows`
 */
export async function seenRows(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  query: SeenQuery,
  signal?: AbortSignal,
): Promise<Seen> {
  const version = await versionOf(ctx, actor, datasetId, query.version);
  const base = await baseOf(ctx, actor, query.base_model);
  const { split, after, limit, loss_on } = query;
  const page = await readRows(ctx, actor, version.id, { split, after, limit });
  const maxLength = query.max_length ?? Math.min(USUAL_LENGTH, baseModelRef(base).context_length || USUAL_LENGTH);
  const looking = { base: baseModelDir(ctx, base.id), row_type: version.rowType, loss_on, max_length: maxLength };
  const rows = page.rows.length ? await inspectRows(ctx, { ...looking, rows: page.rows }, actor, signal) : [];
  return {
    versionId: version.id,
    rowType: version.rowType,
    baseModel: base.id,
    maxLength,
    lossOn: loss_on,
    rows,
    next: page.next,
  };
}
