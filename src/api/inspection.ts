/** JSON API of the loss-mask inspector: which tokens of a row train, which are context, which are cut. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { SeenQuery, seenRows } from "../models/inspection/service.ts";

export const inspectionApi = (ctx: Ctx) =>
  new Elysia({ name: "inspection.api", prefix: "/v1/datasets", seed: ctx.installation }).use(session(ctx)).get(
    "/:id/seen",
    async ({ actor, params, query, request }) => {
      const seen = await seenRows(ctx, actor, params.id, query, request.signal);
      return {
        object: "list" as const,
        version_id: seen.versionId,
        row_type: seen.rowType,
        base_model: seen.baseModel,
        max_length: seen.maxLength,
        loss_on: seen.lossOn,
        data: seen.rows.map((row) => ({
          object: "dataset.seen_row" as const,
          id: row.row_id,
          sequences: row.sequences,
        })),
        first_id: seen.rows[0]?.row_id ?? null,
        last_id: seen.next ?? seen.rows.at(-1)?.row_id ?? null,
        has_more: seen.next !== null,
      };
    },
    {
      params: v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) }),
      query: SeenQuery,
      detail: {
        tags: ["Datasets"],
        summary: "See rows as a model sees them",
        description:
          "Every token with its text and its state: t trains, c is context, x is cut. By the tokenizer and chat template of a base model, and by the code that trains; `hashes` are of token ids and labels as they are trained on, which a trainer tells of its first batch.",
      },
    },
  );
