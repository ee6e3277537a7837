/**
 * Elysia plugin every room uses: gives handlers who asks, and refuses what the access table does not allow for the
 * route that was found.
 */
import { Elysia } from "elysia";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { checkText } from "../lib/text/well-formed.ts";
import { type Access, accessOf } from "./access.ts";
import { readQuery } from "./query.ts";
import { requestState } from "./request-state.ts";

const NOBODY: Actor = { userId: "", org: "", role: "member", via: "session", keyId: null, email: null };

const notSignedIn = () =>
  new AppError(
    "unauthenticated",
    "invalid_api_key",
    "You are not signed in, or the API key is wrong, revoked or missing. Send `Authorization: Bearer ftl-…` with a key from Settings > API keys.",
  );

/**
 * Refuses whoever may not call a route.
 * @throws AppError `invalid_api_key` (401), `admin_only` (403)
 */
export function checkAccess(access: Access, actor: Actor | null): void {
  if (access === "public" || access === "trainer") return;
  if (!actor) throw notSignedIn();
  if (access === "admin" && actor.role !== "admin")
    throw new AppError("forbidden", "admin_only", "Only an administrator of this installation can do that.");
}

/**
 * Gives handlers `actor`, and the query as it was written. On public and trainer routes without credentials it is
 * nobody (empty ids).
 */
export const session = (ctx: Ctx) =>
  new Elysia({ name: "session", seed: ctx.installation }).derive({ as: "global" }, (context) => {
    const { request, route } = context;
    // Before it is checked against a route's schema.
    if (request.url.includes("?")) context.query = readQuery(request.url) as typeof context.query;
    const state = requestState(request);
    const access = accessOf(request.method, route);
    // The gate decided by the path as it was sent. A route that needs something else was reached past it.
    if (state?.access !== access)
      throw new AppError(
        "invalid",
        "ambiguous_path",
        "Write the path of this address plainly, as the API describes it.",
      );
    checkAccess(access, state.actor);
    // Trainers post what a tokenizer wrote: their text is repaired where it is read.
    if (access !== "trainer") checkText(context.query, context.body);
    return { actor: state.actor ?? NOBODY };
  });
