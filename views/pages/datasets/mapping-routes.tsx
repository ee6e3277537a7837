/** The pages of the mapping of a dataset: the form, its preview, and what it sends. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { mappingFrom, readingOf, reusableMappings } from "../../../src/data/datasets/mapping.ts";
import { getDataset } from "../../../src/data/datasets/service.ts";
import { createVersion } from "../../../src/data/datasets/versions.ts";
import { fieldsOf } from "../../../src/data/validation/mapping/model.ts";
import { previewOf } from "../../../src/data/validation/mapping/preview.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { MappingLive, MappingPage, type MappingProps } from "./mapping.tsx";
import { choicesIn, choicesOf, type MappingChoices, mappingOf } from "./mapping-form.ts";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const optionalId = v.optional(v.pipe(v.string(), v.maxLength(100)), "");
const Query = v.object({ version: optionalId, from: optionalId });
const Form = v.record(v.string(), v.pipe(v.string(), v.maxLength(500)));

interface Call {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}

/**
 * What the form shows.
 * @param choose the state of the form; without it, that of the mapping in use or the proposed one
 */
export async function mappingProps(
  ctx: Ctx,
  actor: Actor,
  id: string,
  { version: versionId, from, body }: { version?: string; from?: string; body?: Record<string, string> },
): Promise<MappingProps> {
  const dataset = await getDataset(ctx, actor, id);
  const { version, reading } = await readingOf(ctx, actor, id, versionId || undefined);
  const { columns } = reading;
  const other = from ? await mappingFrom(ctx, actor, from) : null;
  const names = new Set(columns.map(({ name }) => name));
  const isOther = other && !fieldsOf(other).some((name) => names.has(name));
  const start = (isOther ? null : other) ?? reading.used ?? reading.proposed ?? {};
  const choices: MappingChoices = body ? choicesIn(body, columns) : choicesOf(start, columns);
  const asked = version.status === "needs_mapping" ? reading.reason : "";
  const { mapping, error } = mappingOf(choices, columns);
  return {
    dataset: { id: dataset.id, name: dataset.name },
    versionId: version.id,
    reason: isOther ? "The file has none of the fields of that mapping." : asked,
    columns,
    choices,
    preview: previewOf(reading, mapping),
    error,
    sent: false,
    others: await reusableMappings(ctx, actor),
  };
}

const handlers = (ctx: Ctx) => ({
  async show({ request, actor, params, query }: Call & { query: v.InferOutput<typeof Query> }) {
    const props = await mappingProps(ctx, actor, params.id, query);
    return html(pageOf(ctx, request, actor), <MappingPage {...props} />);
  },
  async preview({ request, actor, params, body }: Call & { body: v.InferOutput<typeof Form> }) {
    const props = await mappingProps(ctx, actor, params.id, { version: body.version, body });
    return html(pageOf(ctx, request, actor), <MappingPage {...props} />, {
      fragments: { "mapping-live": () => <MappingLive {...props} /> },
    });
  },
  async save({ request, actor, params, body }: Call & { body: v.InferOutput<typeof Form> }) {
    const props = await mappingProps(ctx, actor, params.id, { version: body.version, body });
    const { mapping, error } = mappingOf(props.choices, props.columns);
    const refuse = (text: string) =>
      html(pageOf(ctx, request, actor), <MappingPage {...props} error={text} sent />, { status: 422 });
    if (error) return refuse(error);
    try {
      await createVersion(ctx, actor, params.id, { mapping });
      return redirect(request, `/datasets/${params.id}`);
    } catch (failure) {
      if (!(failure instanceof AppError) || failure.kind === "internal") throw failure;
      return refuse(failure.message);
    }
  },
});

export const mappingPages = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "mapping.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/datasets/:id/mapping", route.show, { params: Id, query: Query })
    .post("/datasets/:id/mapping", route.save, { params: Id, body: Form })
    .post("/datasets/:id/mapping/preview", route.preview, { params: Id, body: Form });
};
