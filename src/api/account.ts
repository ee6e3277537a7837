/** JSON API of accounts: who am I, and API keys. */
import { Elysia } from "elysia";
import { CreateKey, keyView, meView, PageQuery } from "../accounts/auth/model.ts";
import { createKey, listKeys, revokeKey } from "../accounts/auth/service.ts";
import type { Ctx } from "../ctx.ts";
import { session } from "../http/session.ts";
import { pageOf } from "../lib/page.ts";

const DAY_MS = 86_400_000;

export const authApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/me", ({ actor }) => meView(actor), {
      detail: { summary: "Who this key or session belongs to", tags: ["Keys"] },
    })
    .get(
      "/keys",
      async ({ actor, query }) => {
        const rows = await listKeys(ctx, actor, { after: query.after, limit: query.limit + 1 });
        return pageOf(rows.map(keyView), query.limit);
      },
      { query: PageQuery, detail: { summary: "List API keys", tags: ["Keys"] } },
    )
    .post(
      "/keys",
      async ({ actor, body }) => {
        const days = body.expires_in_days;
        const expiresAt = days === null ? null : ctx.clock.now() + days * DAY_MS;
        const made = await createKey(ctx, actor, { name: body.name, expiresAt });
        return { ...keyView(made.row), key: made.key };
      },
      { body: CreateKey, detail: { summary: "Make an API key; the secret is shown this once", tags: ["Keys"] } },
    )
    .delete(
      "/keys/:id",
      async ({ actor, params }) => {
        await revokeKey(ctx, actor, params.id);
        return { object: "api_key" as const, id: params.id, deleted: true };
      },
      { detail: { summary: "Revoke an API key at once", tags: ["Keys"] } },
    );
