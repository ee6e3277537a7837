/** Page routes of the link in security notices. Opening it changes nothing: mail programs open links by themselves. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { findAlert, secureAccount } from "../../../src/notices/security/not-me.ts";
import { NotMePage } from "./not-me.tsx";

const Token = v.object({ token: v.optional(v.pipe(v.string(), v.maxLength(300)), "") });

async function show(ctx: Ctx, request: Request, token: string) {
  const { title, body, email } = await findAlert(ctx, token);
  return html(pageOf(ctx, request, null), <NotMePage token={token} title={title} facts={body} email={email} />);
}

async function secure(ctx: Ctx, request: Request, token: string) {
  const reset = await secureAccount(ctx, token);
  return redirect(request, `/reset?token=${reset}`);
}

export const notMePages = (ctx: Ctx) =>
  new Elysia({ name: "not-me.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/not-me", ({ request, query }) => show(ctx, request, query.token), { query: Token })
    .post("/not-me", ({ request, body }) => secure(ctx, request, body.token), { body: Token });
