/** The loss-mask inspector: a page of a dataset's rows with the training state of every token, for a base model. */
import * as v from "valibot";
import { REASONING_OPTIONS, SPECIAL_TOKENS } from "../../contract/data-settings.ts";
import type { RowType } from "../../contract/spec.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { readRows } from "../../data/datasets/rows.ts";
import { versionOf } from "../../data/datasets/versions.ts";
import { AppError } from "../../errors.ts";
import { baseModelDir, baseModelRef, listCatalogue, requireReadyBase } from "../base/service.ts";
import { inspectRows, type SeenRow, SequenceSchema } from "./process.ts";

const whole = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,9}$/, "must be a whole number"), v.transform(Number))]),
    v.integer("must be a whole number"),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  );
const id = v.pipe(v.string(), v.maxLength(200));

export const SeenQuery = v.strictObject({
  /** Absent: the default base model. */
  base_model: v.optional(id),
  version: v.optional(id),
  split: v.optional(v.picklist(["train", "holdout"]), "train"),
  /** Max sequence length in tokens. Absent: 2,048, or the base model's context length when that is shorter. */
  max_length: v.optional(whole(8, 1_048_576)),
  loss_on: v.optional(v.picklist(["completion", "all"]), "completion"),
  /** Absent: `escape` in conversations, `keep` in plain text. */
  special_tokens: v.optional(v.picklist(SPECIAL_TOKENS)),
  /** `mask`: the reasoning of answers is context only. */
  reasoning: v.optional(v.picklist(REASONING_OPTIONS)),
  after: v.optional(whole(0, 999_999_999), 0),
  limit: v.optional(whole(1, 20), 5),
});
export type SeenQuery = v.InferOutput<typeof SeenQuery>;

/** A page of rows as a base model sees them. `last_id` is the cursor of the next page when `has_more`. */
export const SeenPageView = v.strictObject({
  object: v.literal("list"),
  version_id: v.string(),
  row_type: v.picklist(["chat", "preference", "unpaired", "text", "prompt"]),
  base_model: v.string(),
  max_length: v.number(),
  loss_on: v.picklist(["completion", "all"]),
  data: v.array(
    v.strictObject({
      object: v.literal("dataset.seen_row"),
      id: v.number(),
      sequences: v.array(SequenceSchema),
      /** Why the row cannot be trained on, such as a chat template that refuses it. */
      error: v.optional(v.string()),
    }),
  ),
  first_id: v.nullable(v.number()),
  last_id: v.nullable(v.number()),
  has_more: v.boolean(),
});
type SeenPageView = v.InferOutput<typeof SeenPageView>;

export const seenPageView = (seen: Seen): SeenPageView => ({
  object: "list",
  version_id: seen.versionId,
  row_type: seen.rowType,
  base_model: seen.baseModel,
  max_length: seen.maxLength,
  loss_on: seen.lossOn,
  data: seen.rows.map(({ row_id: id, sequences, error }) => ({
    object: "dataset.seen_row",
    id,
    sequences,
    ...(error === undefined ? {} : { error }),
  })),
  first_id: seen.rows[0]?.row_id ?? null,
  last_id: seen.next ?? seen.rows.at(-1)?.row_id ?? null,
  has_more: seen.next !== null,
});

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

const DEFAULT_LENGTH = 2048;

/** The requested base model, else the default one, else the first that is ready. @throws AppError `no_base_model` */
async function chooseBase(ctx: Ctx, actor: Actor, requested: string | undefined) {
  const ready = (await listCatalogue(ctx, actor)).filter((base) => base.status === "ready" && base.license.accepted);
  const found = requested ?? (ready.find((base) => base.default) ?? ready[0])?.id;
  if (found) return requireReadyBase(ctx, actor, found);
  throw new AppError(
    "conflict",
    "no_base_model",
    "No base model is installed yet, and the tokens are those of a base model's tokenizer. Install one first.",
    { param: "base_model" },
  );
}

/**
 * One page of rows as a base model sees them.
 * @param signal ends the wait for a turn, not a request that is already running
 * @throws AppError of the dataset, of the base model, and those of `inspectRows`
 */
export async function seenRows(
  ctx: Ctx,
  actor: Actor,
  datasetId: string,
  query: SeenQuery,
  signal?: AbortSignal,
): Promise<Seen> {
  const version = await versionOf(ctx, actor, datasetId, query.version);
  const base = await chooseBase(ctx, actor, query.base_model);
  const { split, after, limit, loss_on, special_tokens, reasoning } = query;
  const page = await readRows(ctx, actor, version.id, { split, after, limit });
  const maxLength = query.max_length ?? Math.min(DEFAULT_LENGTH, baseModelRef(base).context_length || DEFAULT_LENGTH);
  const reading = { row_type: version.rowType, loss_on, max_length: maxLength, special_tokens, reasoning };
  const request = { base: baseModelDir(ctx, base.id), ...reading };
  const rows = page.rows.length ? await inspectRows(ctx, { ...request, rows: page.rows }, actor, signal) : [];
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
