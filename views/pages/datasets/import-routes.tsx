/** Forms of imports on the page of datasets. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { parseWith } from "../../../src/data/files/forms.ts";
import { CreateImport, type ImportView, importView, RetryImport } from "../../../src/data/imports/model.ts";
import { cancelImport, createImport, listImports, retryImport } from "../../../src/data/imports/service.ts";
import { AppError } from "../../../src/errors.ts";
import { redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";

const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const Form = v.record(v.string(), v.pipe(v.string(), v.maxLength(5000)));

/** Imports looked at, newest first. */
const NEWEST = 20;
/** Milliseconds for which a failed import is shown. */
const SHOWN_MS = 86_400_000;

/** Fields of the form by source; the form sends those of all. */
const FIELDS = new Map([
  ["huggingface", ["repo", "revision", "config", "split", "file", "token"]],
  ["url", ["url", "authorization"]],
  ["s3", ["endpoint", "bucket", "key", "region", "access_key_id", "secret_access_key"]],
  ["path", ["path"]],
]);

/** Imports for the page: those that are not done, and the failures of the last day. */
export async function importsShown(ctx: Ctx, actor: Actor): Promise<ImportView[]> {
  const rows = await listImports(ctx, actor, { limit: NEWEST });
  const since = ctx.clock.now() - SHOWN_MS;
  return rows
    .filter(
      ({ status, createdAt }) => ["waiting", "running"].includes(status) || (status === "failed" && createdAt > since),
    )
    .map(importView);
}

interface Call {
  request: Request;
  actor: Actor;
}

/** Runs a change and returns to the list, with the reason when it was refused. */
async function andBack(request: Request, change: () => Promise<unknown>, said: string): Promise<Response> {
  try {
    await change();
    return redirect(request, "/datasets", said);
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return redirect(request, "/datasets", { kind: "bad", text: error.message });
  }
}

export const importsPages = (ctx: Ctx) =>
  new Elysia({ name: "imports.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .post(
      "/datasets/imports",
      ({ request, actor, body }: Call & { body: v.InferOutput<typeof Form> }) =>
        andBack(
          request,
          async () => {
            const type = body.type ?? "";
            const given = (FIELDS.get(type) ?? [])
              .filter((name) => body[name]?.trim())
              .map((name) => [name, body[name]?.trim()]);
            const form = {
              source: { type, ...Object.fromEntries(given) },
              name: body.name || undefined,
              stays_local: body.stays_local || undefined,
            };
            const { source, name, stays_local: staysLocal } = parseWith(CreateImport, form);
            await createImport(ctx, actor, { source, options: { name, staysLocal } });
          },
          "The import has started.",
        ),
      { body: Form },
    )
    .post(
      "/datasets/imports/:id/cancel",
      ({ request, actor, params }: Call & { params: v.InferOutput<typeof Id> }) =>
        andBack(request, () => cancelImport(ctx, actor, params.id), "The import was canceled."),
      { params: Id },
    )
    .post(
      "/datasets/imports/:id/retry",
      ({
        request,
        actor,
        params,
        body,
      }: Call & { params: v.InferOutput<typeof Id>; body?: v.InferOutput<typeof Form> }) =>
        andBack(
          request,
          () => {
            const given = Object.entries(body ?? {}).filter(([, value]) => value.trim());
            const credentials = Object.fromEntries(given.map(([name, value]) => [name, value.trim()]));
            return retryImport(ctx, actor, params.id, parseWith(RetryImport, credentials));
          },
          "The import has started again.",
        ),
      { params: Id, body: v.optional(Form) },
    );
