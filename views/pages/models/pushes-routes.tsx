/** Form actions of the hub section on a fine-tuned model's page. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { parseWith } from "../../../src/data/files/forms.ts";
import { AppError, ERROR_TABLE } from "../../../src/errors.ts";
import { redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { CreatePush } from "../../../src/training/pushes/model.ts";
import { cancelPush, createPush } from "../../../src/training/pushes/service.ts";
import { showTuned } from "./tuned-routes.tsx";

const id = v.pipe(v.string(), v.maxLength(400));
const text = v.optional(v.pipe(v.string(), v.maxLength(1000)), "");
const Form = v.object({ repository: text, format: text, visibility: text, token: text, branch: text, message: text });

interface Visit {
  request: Request;
  actor: Actor;
}

const back = (model: string) => `/models/${encodeURIComponent(model)}#pushes`;

function handlers(ctx: Ctx) {
  const create = async (visit: Visit & { params: { id: string }; body: v.InferOutput<typeof Form> }) => {
    const { request, actor, params, body } = visit;
    const { visibility, token, ...values } = body;
    try {
      const given = Object.entries({ ...values, token }).filter(([, value]) => value.trim());
      const push = parseWith(CreatePush, { ...Object.fromEntries(given), private: visibility !== "public" });
      await createPush(ctx, actor, params.id, push);
    } catch (error) {
      if (!(error instanceof AppError) || ["internal", "not_found"].includes(error.kind)) throw error;
      const form = { values: { ...values, visibility }, error: error.message, field: error.param ?? "" };
      return showTuned(ctx, visit, { form, status: ERROR_TABLE[error.kind].status });
    }
    return redirect(request, back(params.id), "The push has started.");
  };
  const cancel = async ({ request, actor, params }: Visit & { params: { id: string; push: string } }) => {
    try {
      await cancelPush(ctx, actor, params.push);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind !== "conflict") throw error;
      return redirect(request, back(params.id), { kind: "bad", text: error.message });
    }
    return redirect(request, back(params.id), "The push was canceled.");
  };
  return { create, cancel };
}

export const pushesPages = (ctx: Ctx) => {
  const { create, cancel } = handlers(ctx);
  return new Elysia({ name: "pushes.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .post("/models/:id/pushes", create, { params: v.object({ id }), body: Form })
    .post("/models/:id/pushes/:push/cancel", cancel, { params: v.object({ id, push: id }) });
};
