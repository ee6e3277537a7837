/** Elysia plugin of all routes: provides the actor, and enforces the access table for the matched route. */
import { Elysia } from "elysia";
import { checkBeta } from "../accounts/beta/service.ts";
import { heldError } from "../accounts/holds/service.ts";
import { acceptByUse, pendingFor } from "../accounts/terms/acceptance.ts";
import { TITLES } from "../accounts/terms/model.ts";
import { type Actor, type Ctx, requireAdmin } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { checkText } from "../lib/text/well-formed.ts";
import { siteAddress } from "../notices/mail/template.ts";
import { requirePermission } from "../roles.ts";
import { type Access, accessOf } from "./access.ts";
import { readQuery } from "./query.ts";
import { requestState } from "./request-state.ts";
import { checkProof } from "./step-up.ts";

const NOBODY: Actor = {
  userId: "",
  org: "",
  role: "member",
  teamRole: "member",
  scopes: [],
  via: "session",
  keyId: null,
  email: null,
};

const notSignedIn = () =>
  new AppError(
    "unauthenticated",
    "invalid_api_key",
    "You are not signed in, or the API key is wrong, revoked or missing. Send `Authorization: Bearer ftl-…` with a key from Settings > API keys.",
  );

/**
 * Refuses actors that may not call a route.
 * @throws AppError `invalid_api_key` (401), `permission_denied`, `insufficient_scope`, `admin_only` (403)
 */
export function checkAccess(access: Access, actor: Actor | null): void {
  if (access === "public" || access === "trainer" || access === "scim") return;
  if (!actor) throw notSignedIn();
  // Before a route is found, an unlisted path may be an address where nothing is.
  if (access !== "unlisted") requirePermission(actor, access);
}

/** What a person may still use who has to set up two-factor authentication first. */
const SETTING_UP =
  /^\/(settings\/two-factor(\/|$)|confirm$|accept-terms$|v1\/((two_factor|passkeys|terms)(\/|$)|me$|reauthenticate$)|logout$|theme$|assets\/)/;

/** @throws AppError `two_factor_required` (403) after the days of grace */
export function checkTwoFactor(actor: Actor | null, path: string, now: number): void {
  if (actor?.twoFactorBy === undefined || now < actor.twoFactorBy || SETTING_UP.test(path)) return;
  throw new AppError(
    "forbidden",
    "two_factor_required",
    "Your team requires two-factor authentication. Set it up in Settings > Two-factor authentication; API keys keep working.",
  );
}

/** Work, which an account or organization that is about to be deleted no longer begins. */
const WORK: readonly Access[] = [
  "data.write",
  "runs.write",
  "models.write",
  "deployments.write",
  "inference",
  "webhooks.write",
  "keys.write",
];

/** Copies of what is stored, which stay possible. */
const COPYING = /^\/((settings|team)\/data|v1\/archives)(\/|$)/;
/** What a member of a suspended organization may still use besides: deleting the own account, and signing out. */
const LEAVING =
  /^\/(logout|theme|confirm|v1\/me|v1\/reauthenticate|settings\/delete(\/cancel)?|v1\/account\/deletion)$/;

/** What a team that is suspended for an unpaid invoice may still use: its invoices and the ways to pay them. */
const PAYING = /^\/(billing|v1\/billing\/(statements|credits|account|checkout|portal))(\/|$)/;

/**
 * Refuses what a hold on the account or its organization takes away. Administrators of the installation still
 * administer.
 * @throws AppError `account_suspended`, `deletion_scheduled` (403)
 */
export function checkHold(ctx: Ctx, { hold, via }: Actor, access: Access, path: string): void {
  if (!hold || access === "public") return;
  if (via === "session" && (access === "installation" || LEAVING.test(path) || COPYING.test(path))) return;
  if (via === "session" && hold.kind === "unpaid" && PAYING.test(path)) return;
  const reads = !WORK.includes(access) && (via === "session" || hold.subject === "organization");
  if (hold.kind === "deletion" && reads) return;
  throw heldError(ctx, hold);
}

/** What a person needs to read and accept the terms, or to leave. */
const ACCEPTING = /^\/(accept-terms$|v1\/(terms(\/|$)|me$)|logout$|theme$|assets\/)/;

/**
 * Lets nobody continue who has not accepted the terms in force. Neither public routes nor trainers are asked.
 * @throws AppError `terms_not_accepted` (403) with the address of the page that asks
 */
export async function checkTerms(ctx: Ctx, actor: Actor, path: string): Promise<void> {
  const { due } = await pendingFor(ctx, actor.userId);
  if (due.length === 0 || ACCEPTING.test(path)) return;
  if (ctx.config.terms_acceptance === "continued_use") return acceptByUse(ctx, actor, due);
  const names = due.map(({ document }) => TITLES[document]).join(", ");
  const who = actor.via === "key" ? "The owner of this key has" : "You have";
  throw new AppError(
    "forbidden",
    "terms_not_accepted",
    `${who} to accept the documents in force (${names}) first: ${siteAddress(ctx)}/accept-terms`,
  );
}

/**
 * Provides `actor` and the query as text. On public and trainer routes without credentials, the actor has empty ids.
 */
export const session = (ctx: Ctx) =>
  new Elysia({ name: "session", seed: ctx.installation }).derive({ as: "global" }, async (context) => {
    const { request, route } = context;
    // Before the query is checked against the route's schema.
    if (request.url.includes("?")) context.query = readQuery(request.url) as typeof context.query;
    const state = requestState(request);
    const access = accessOf(request.method, route);
    // The gate checked the path as it was sent. A route that needs other access was reached by an ambiguous path.
    if (state?.access !== access)
      throw new AppError(
        "invalid",
        "ambiguous_path",
        "The path is ambiguous. Write it exactly as in the API reference.",
      );
    checkAccess(access, state.actor);
    if (access === "unlisted" && state.actor) requireAdmin(state.actor);
    // Trainers post the output of a tokenizer, which is repaired where it is read.
    if (access !== "trainer") checkText(context.query, context.body);
    if (state.actor?.via === "session") await checkProof(ctx, request, route, state.actor, context.body);
    const beta = state.actor && (await checkBeta(ctx, state.actor, request.method, route));
    if (beta) context.set.headers["x-beta-feature"] = beta;
    return { actor: state.actor ?? NOBODY };
  });
