/** The page of the loss-mask inspector. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { getDataset } from "../../../src/data/datasets/service.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listCatalogue } from "../../../src/models/base/service.ts";
import { startsHelper } from "../../../src/models/inspection/process.ts";
import { SeenQuery, seenRows } from "../../../src/models/inspection/service.ts";
import { SeenList, SeenPage, type SeenProps, SeenView } from "./seen.tsx";

const text = v.optional(v.pipe(v.string(), v.maxLength(200)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
/** The query that the form sends; empty fields are present. */
const Query = v.object({
  base: text,
  version: text,
  split: text,
  length: text,
  loss: text,
  special: text,
  reasoning: text,
  after: text,
  /** Set by the page itself, which shows at once and then asks for the rows. */
  rows: text,
});

/** What the fields of a request are called on the page. */
const LABELS: Record<string, string> = {
  max_length: "Max sequence length",
  loss_on: "Train on",
  special_tokens: "Special tokens in texts",
  reasoning: "Reasoning of answers",
  split: "The split",
};

async function propsOf(
  ctx: Ctx,
  actor: Actor,
  id: string,
  form: v.InferOutput<typeof Query>,
  signal: AbortSignal,
  waiting: boolean,
): Promise<SeenProps> {
  const dataset = await getDataset(ctx, actor, id);
  const bases = (await listCatalogue(ctx, actor)).filter((base) => base.status === "ready" && base.license.accepted);
  const given = {
    base_model: form.base,
    version: form.version,
    split: form.split,
    max_length: form.length,
    loss_on: form.loss,
    special_tokens: form.special,
    reasoning: form.reasoning,
    after: form.after,
  };
  const parsed = v.safeParse(SeenQuery, Object.fromEntries(Object.entries(given).filter(([, value]) => value !== "")));
  const choices = {
    dataset: { id: dataset.id, name: dataset.name },
    bases: bases.map(({ id, name }) => ({ id, name })),
  };
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const field = LABELS[v.getDotPath(issue) ?? ""] ?? "The address";
    return {
      ...choices,
      form,
      seen: null,
      problem: `${field} ${LABELS.max_length === field ? issue.message : "has a value that does not exist"}.`,
    };
  }
  if (waiting && bases.length > 0) return { ...choices, form, seen: null, problem: null, waiting };
  try {
    return { ...choices, form, seen: await seenRows(ctx, actor, id, parsed.output, signal), problem: null };
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "not_found") throw error;
    return { ...choices, form, seen: null, problem: error.message };
  }
}

interface Visit {
  request: Request;
  actor: Actor;
  params: v.InferOutput<typeof Id>;
  query: v.InferOutput<typeof Query>;
}

async function show(ctx: Ctx, { request, actor, params, query }: Visit) {
  // The first rows start a program.
  const waiting = query.rows === "" && request.headers.get("hx-target") === null && (await startsHelper(ctx));
  const props = await propsOf(ctx, actor, params.id, query, request.signal, waiting);
  return html(pageOf(ctx, request, actor), <SeenPage {...props} />, {
    fragments: { seen: () => <SeenList {...props} />, "seen-view": () => <SeenView {...props} /> },
  });
}

export const inspectionPages = (ctx: Ctx) =>
  new Elysia({ name: "inspection.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/datasets/:id/seen", (visit) => show(ctx, visit), { params: Id, query: Query });
