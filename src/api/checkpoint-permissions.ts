/** OpenAI's permissions of checkpoints: an organization shares one with others. Its projects are organizations here. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { nullsAbsent } from "../lib/nulls.ts";
import { listOf, pageLimit, pageOf } from "../lib/page.ts";
import { id, seconds } from "../lib/request-fields.ts";
import {
  listPermissions,
  type PermissionRow,
  shareCheckpoint,
  unshareCheckpoint,
} from "../models/tuned/permissions.ts";

const tags = ["Fine-tuning"];
/** The name of a checkpoint or of a fine-tuned model. */
const name = v.pipe(v.string(), v.maxLength(400));
const Checkpoint = v.strictObject({ id: name });
const Permission = v.strictObject({ id: name, permission: id });
const Share = v.strictObject({ project_ids: v.pipe(v.array(id), v.minLength(1), v.maxLength(100)) });
const ListQuery = v.strictObject({
  after: v.optional(id),
  limit: pageLimit(10),
  order: v.optional(v.picklist(["ascending", "descending"]), "descending"),
  project_id: v.optional(id),
});

const object = v.literal("checkpoint.permission");
const PermissionView = v.strictObject({ object, id: v.string(), created_at: v.number(), project_id: v.string() });
const Deleted = v.strictObject({ object, id: v.string(), deleted: v.literal(true) });

const view = (row: PermissionRow): v.InferOutput<typeof PermissionView> => ({
  object: "checkpoint.permission",
  id: row.id,
  created_at: seconds(row.createdAt),
  project_id: row.org,
});

interface Call {
  actor: Actor;
  params: { id: string };
}

const routes = (ctx: Ctx) => ({
  share: async ({ actor, params, body }: Call & { body: v.InferOutput<typeof Share> }) => {
    const rows = await shareCheckpoint(ctx, actor, params.id, body.project_ids);
    return pageOf(rows.map(view), rows.length);
  },
  list: async ({ actor, params, query }: Call & { query: v.InferOutput<typeof ListQuery> }) =>
    pageOf((await listPermissions(ctx, actor, params.id, query)).map(view), query.limit),
  unshare: async ({ actor, params }: { actor: Actor; params: v.InferOutput<typeof Permission> }) => {
    await unshareCheckpoint(ctx, actor, params.id, params.permission);
    return { object: "checkpoint.permission" as const, id: params.permission, deleted: true as const };
  },
});

export const checkpointPermissionsApi = (ctx: Ctx) => {
  const route = routes(ctx);
  return new Elysia({
    name: "checkpoint-permissions.api",
    prefix: "/v1/fine_tuning/checkpoints/:id/permissions",
    seed: ctx.installation,
  })
    .use(session(ctx))
    .post("", route.share, {
      params: Checkpoint,
      body: nullsAbsent(Share),
      detail: {
        tags,
        summary: "Share a checkpoint with organizations of this installation",
        description: "They may chat with it under its name. `project_ids` are ids of organizations.",
        responses: answers(listOf(PermissionView)),
      },
    })
    .get("", route.list, {
      params: Checkpoint,
      query: ListQuery,
      detail: { tags, summary: "List who may use a checkpoint", responses: answers(listOf(PermissionView)) },
    })
    .delete("/:permission", route.unshare, {
      params: Permission,
      detail: { tags, summary: "Stop sharing a checkpoint", responses: answers(Deleted) },
    });
};
