/** /v1/subject_requests: where a person is in what the organization stores, and the erasure of it. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import {
  CreateSubjectRequest,
  DeletedSubject,
  EraseSubject,
  ExportQuery,
  HitList,
  HitsQuery,
  hitList,
  SubjectView,
} from "../custody/subjects/model.ts";
import {
  createSubject,
  deleteSubject,
  eraseSubject,
  exportSubject,
  getSubject,
  listHits,
  listSubjects,
} from "../custody/subjects/service.ts";
import { answers, answersType } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { generated } from "../http/stored-file.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Organization"];

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
type With<Name extends "query" | "body", S extends v.GenericSchema> = Call & Record<Name, v.InferOutput<S>>;

const handlers = (ctx: Ctx) => ({
  create: ({ actor, body }: { actor: Actor; body: CreateSubjectRequest }) => createSubject(ctx, actor, body),
  async list({ actor, query }: { actor: Actor; query: v.InferOutput<typeof PageQuery> }) {
    return pageOf(await listSubjects(ctx, actor, query), query.limit);
  },
  get: ({ actor, params }: Call) => getSubject(ctx, actor, params.id),
  async hits({ actor, params, query }: With<"query", typeof HitsQuery>) {
    return hitList(await listHits(ctx, actor, params.id, query));
  },
  async export({ actor, params, query }: With<"query", typeof ExportQuery>) {
    const pieces = await exportSubject(ctx, actor, params.id, query.format);
    return generated(ctx, pieces, params.id, query.format);
  },
  erase: ({ actor, params, body }: With<"body", typeof EraseSubject>) => eraseSubject(ctx, actor, params.id, body),
  async delete({ actor, params }: Call): Promise<v.InferOutput<typeof DeletedSubject>> {
    await deleteSubject(ctx, actor, params.id);
    return { id: params.id, object: "subject_request", deleted: true };
  },
});

export const subjectsApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "subjects.api", prefix: "/v1/subject_requests", seed: ctx.installation })
    .use(session(ctx))
    .post("", route.create, {
      body: CreateSubjectRequest,
      detail: {
        tags,
        summary: "Search everything that your organization stores for a person",
        description:
          "`terms` are names, addresses and ids; case, accents and white space do not matter, and a term must stand as words of its own. `all`: a row must have every term. Rows of all versions, files without rows, stored responses and completions, evaluation answers, samples and logs are searched in the background.",
        responses: answers(SubjectView),
      },
    })
    .get("", route.list, {
      query: PageQuery,
      detail: { tags, summary: "List searches for people, newest first", responses: answers(listOf(SubjectView)) },
    })
    .get("/:id", route.get, {
      params: Id,
      detail: {
        tags,
        summary: "Retrieve a search with its report: versions, jobs, models and endpoints",
        responses: answers(SubjectView),
      },
    })
    .get("/:id/hits", route.hits, {
      params: Id,
      query: HitsQuery,
      detail: { tags, summary: "List where the person is, with masked context", responses: answers(HitList) },
    })
    .get("/:id/export", route.export, {
      params: Id,
      query: ExportQuery,
      detail: {
        tags,
        summary: "Download the report with all hits as JSON or CSV",
        responses: answersType("application/json", "The report."),
      },
    })
    .post("/:id/erase", route.erase, {
      params: Id,
      body: EraseSubject,
      detail: {
        tags,
        summary: "Erase what was found",
        description:
          "Creates the next version of every dataset without the rows. `old_versions` also deletes the earlier versions that have them, with their files; `stored` deletes stored responses, completions, samples and log lines, and the texts of evaluation answers. Models stay: `result.models` lists those that were trained on the rows.",
        responses: answers(SubjectView),
      },
    })
    .delete("/:id", route.delete, {
      params: Id,
      detail: { tags, summary: "Delete a search with its report", responses: answers(DeletedSubject) },
    });
};
