/** JSON API of accounts: the caller, their sessions, and API keys. */
import { Elysia } from "elysia";
import type * as v from "valibot";
import { createKey, listKeys, revokeKey } from "../accounts/auth/api-keys.ts";
import {
  CreateKey,
  KeyView,
  keyView,
  MeView,
  meView,
  NewKeyView,
  SessionView,
  sessionView,
} from "../accounts/auth/model.ts";
import { endOtherSessions, endSession, listSessions } from "../accounts/auth/session-list.ts";
import { sessionToken } from "../accounts/auth/sessions.ts";
import { EndedSessions } from "../accounts/organizations/model.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";

const DAY_MS = 86_400_000;
const tags = ["Keys"];

async function listKeysRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listKeys(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(rows.map(keyView), page.limit);
}

async function createKeyRoute(ctx: Ctx, actor: Actor, body: v.InferOutput<typeof CreateKey>): Promise<NewKeyView> {
  const days = body.expires_in_days;
  const expiresAt = days ? ctx.clock.now() + days * DAY_MS : days;
  const { row, key } = await createKey(ctx, actor, { name: body.name, expiresAt, scopes: body.scopes });
  return { ...keyView(row), key };
}

async function revokeKeyRoute(ctx: Ctx, actor: Actor, id: string) {
  await revokeKey(ctx, actor, id);
  return { object: "api_key" as const, id, deleted: true as const };
}

async function listSessionsRoute(ctx: Ctx, actor: Actor, request: Request) {
  return pageOf((await listSessions(ctx, actor, sessionToken(ctx, request))).map(sessionView), 100);
}

async function endSessionRoute(ctx: Ctx, actor: Actor, id: string) {
  await endSession(ctx, actor, id);
  return { object: "session" as const, id, deleted: true as const };
}

async function endSessionsRoute(ctx: Ctx, actor: Actor, request: Request) {
  return { object: "ended_sessions" as const, ended: await endOtherSessions(ctx, actor, sessionToken(ctx, request)) };
}

export const authApi = (ctx: Ctx) =>
  new Elysia({ name: "auth.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/me", ({ actor }) => meView(actor), {
      detail: { tags, summary: "Who this key or session belongs to", responses: answers(MeView) },
    })
    .get("/sessions", ({ actor, request }) => listSessionsRoute(ctx, actor, request), {
      detail: { tags, summary: "List your browser sessions", responses: answers(listOf(SessionView)) },
    })
    .delete("/sessions", ({ actor, request }) => endSessionsRoute(ctx, actor, request), {
      detail: {
        tags,
        summary: "End your browser sessions, but for the one that asks",
        responses: answers(EndedSessions),
      },
    })
    .delete("/sessions/:id", ({ actor, params }) => endSessionRoute(ctx, actor, params.id), {
      detail: { tags, summary: "End one of your browser sessions", responses: answers(deletedOf("session")) },
    })
    .get("/keys", ({ actor, query }) => listKeysRoute(ctx, actor, query), {
      query: PageQuery,
      detail: { tags, summary: "List API keys", responses: answers(listOf(KeyView)) },
    })
    .post("/keys", ({ actor, body }) => createKeyRoute(ctx, actor, body), {
      body: CreateKey,
      detail: {
        tags,
        summary: "Create an API key; the secret is shown only once",
        responses: answers(NewKeyView),
      },
    })
    .delete("/keys/:id", ({ actor, params }) => revokeKeyRoute(ctx, actor, params.id), {
      detail: { tags, summary: "Revoke an API key at once", responses: answers(deletedOf("api_key")) },
    });
