/** JSON API of accounts: the caller, their sessions, and API keys. */
import { Elysia } from "elysia";
import { changeKey, endOverlap, getKey, rotateKey } from "../accounts/api-keys/changes.ts";
import { ChangeKey, CreateKey, KeyView, keyView, NewKeyView, RotateKey } from "../accounts/api-keys/model.ts";
import { createKey, listKeys, revokeKey } from "../accounts/api-keys/service.ts";
import { MeView, meView, SessionView, sessionView } from "../accounts/auth/model.ts";
import { endOtherSessions, endSession, listSessions } from "../accounts/auth/session-list.ts";
import { sessionToken } from "../accounts/auth/sessions.ts";
import { askedOf } from "../accounts/keys/restrictions.ts";
import { EndedSessions } from "../accounts/organizations/model.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { DAY_MS } from "../lib/clock.ts";
import { listOf, PageQuery, pageOf } from "../lib/page.ts";
import { checkModelNames } from "../models/tuned/allowed.ts";
import { serviceAccountsApi } from "./service-accounts.ts";

const tags = ["Keys"];

async function listKeysRoute(ctx: Ctx, actor: Actor, page: PageQuery) {
  const rows = await listKeys(ctx, actor, { after: page.after, limit: page.limit + 1 });
  return pageOf(
    rows.map((row) => keyView(row, ctx.clock.now())),
    page.limit,
  );
}

async function createKeyRoute(ctx: Ctx, actor: Actor, body: CreateKey): Promise<NewKeyView> {
  const { name, expires_in_days: days, scopes } = body;
  const expiresAt = days ? ctx.clock.now() + days * DAY_MS : days;
  await checkModelNames(ctx, actor, body.allowed_models);
  const { row, key } = await createKey(ctx, actor, { name, expiresAt, scopes, restrictions: askedOf(body) });
  return { ...keyView(row, ctx.clock.now()), key };
}

async function changeKeyRoute(ctx: Ctx, actor: Actor, id: string, body: ChangeKey): Promise<KeyView> {
  await checkModelNames(ctx, actor, body.allowed_models);
  return keyView(await changeKey(ctx, actor, id, { name: body.name, restrictions: askedOf(body) }), ctx.clock.now());
}

async function rotateKeyRoute(ctx: Ctx, actor: Actor, id: string, body: RotateKey): Promise<NewKeyView> {
  const { row, key } = await rotateKey(ctx, actor, id, body.overlap_seconds * 1000);
  return { ...keyView(row, ctx.clock.now()), key };
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
    .use(serviceAccountsApi(ctx))
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
    .get("/keys/:id", async ({ actor, params }) => keyView(await getKey(ctx, actor, params.id), ctx.clock.now()), {
      detail: { tags, summary: "Retrieve an API key", responses: answers(KeyView) },
    })
    .post("/keys/:id", ({ actor, params, body }) => changeKeyRoute(ctx, actor, params.id, body), {
      body: ChangeKey,
      detail: { tags, summary: "Change the name and the restrictions of an API key", responses: answers(KeyView) },
    })
    .post("/keys/:id/rotate", ({ actor, params, body }) => rotateKeyRoute(ctx, actor, params.id, body), {
      body: RotateKey,
      detail: {
        tags,
        summary: "Give an API key a new secret, which is shown only once; the old one works for the overlap",
        responses: answers(NewKeyView),
      },
    })
    .delete(
      "/keys/:id/previous_secret",
      async ({ actor, params }) => keyView(await endOverlap(ctx, actor, params.id), ctx.clock.now()),
      { detail: { tags, summary: "End the old secret of a rotated API key now", responses: answers(KeyView) } },
    )
    .delete("/keys/:id", ({ actor, params }) => revokeKeyRoute(ctx, actor, params.id), {
      detail: { tags, summary: "Revoke an API key at once", responses: answers(deletedOf("api_key")) },
    });
