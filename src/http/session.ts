/** Elysia plugin every room uses: finds out who asks and refuses what the access table does not allow, before anything else runs. */
import { Elysia } from "elysia";
import { resolveActor } from "../auth/service.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { accessOf } from "./access.ts";
import { readQuery } from "./query.ts";
import { requestState } from "./request-state.ts";

const NOBODY: Actor = { userId: "", org: "", role: "member", via: "session", keyId: null, email: null };

export const notSignedIn = () =>
  new AppError(
    "unauthenticated",
    "invalid_api_key",
    "You are not signed in, or the API key is wrong, revoked or missing. Send `Authorization: Bearer ftl-…` with a key from Settings > API keys.",
  );

/** Gives handlers `actor`, and the query as it was written. On public and trainer routes without credentials it is nobody (empty ids). */
export const session = (ctx: Ctx) =>
  new Elysia({ name: "session", seed: ctx.installation }).derive({ as: "global" }, async (context) => {
    const { request, route } = context;
    // Before it is checked against a route's schema.
    if (request.url.includes("?")) context.query = readQuery(request.url) as typeof context.query;
    const access = accessOf(request.method, route);
    if (access === "trainer") return { actor: NOBODY };
    const known = requestState(request)?.actor;
    const actor = known === undefined ? await resolveActor(ctx, request) : known;
    if (access === "public") return { actor: actor ?? NOBODY };
    if (!actor) throw notSignedIn();
    if (access === "admin" && actor.role !== "admin")
      throw new AppError("forbidden", "admin_only", "Only an administrator of this installation can do that.");
    return { actor };
  });
