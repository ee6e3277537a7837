/**
 * Sensitive routes ask a browser session for a new proof. A form is shown again with its fields and a field for the
 * password; the API answers 403.
 */

import { isProved } from "../accounts/auth/sessions.ts";
import { hasUsablePasskey } from "../accounts/factors/passkey-check.ts";
import { prove, proveWithPasskey } from "../accounts/factors/proof.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { clientOf, requestState } from "./request-state.ts";

/** The fields of the page that asks for the proof: a password or code, or a passkey and the state of its challenge. */
export const PROOF_FIELD = "reauthentication";
export const PASSKEY_FIELD = "reauthentication_passkey";
export const STATE_FIELD = "reauthentication_state";

const SENSITIVE: readonly RegExp[] = [
  /^(PATCH \/v1\/billing\/settings|POST \/v1\/billing\/(checkout|portal)|POST \/billing\/payment\/(card|portal))$/,
  /^\w+ (\/v1)?\/admin(\/|$)/,
  /^(POST|DELETE) \/(v1\/(organization|service_accounts)|team)(\/|$)/,
  /^POST \/(v1|settings)\/keys(\/:id(\/rotate)?)?$/,
  /^(\w+ \/settings\/two-factor\/passkeys(\/add|\/options|\/:id\/remove)?|DELETE \/v1\/passkeys\/:id)$/,
  /^POST \/(v1\/archives|settings\/data)$/,
  /^POST \/(v1\/account\/deletion|settings\/delete)$/,
  /^(DELETE \/v1\/models\/:id|POST \/models\/:id\/delete)$/,
];

const needed = (message: string) => new AppError("forbidden", "reauthentication_required", message);

/** The text fields of a form that a browser sent; null for other bodies. */
function fieldsOf(body: unknown): Record<string, string> | null {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return null;
  const texts = Object.entries(body).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(texts);
}

/** Takes the proof out of a form's fields and gives it back; null when there is none. */
function takeProof(
  body: unknown,
  keep: boolean,
): ((ctx: Ctx, request: Request, actor: Actor) => Promise<unknown>) | null {
  const { [PROOF_FIELD]: text, [PASSKEY_FIELD]: credential, [STATE_FIELD]: state } = fieldsOf(body) ?? {};
  if (!keep && fieldsOf(body))
    for (const name of [PROOF_FIELD, PASSKEY_FIELD, STATE_FIELD]) delete (body as Record<string, unknown>)[name];
  if (credential && state)
    return (ctx, request, actor) =>
      proveWithPasskey(ctx, actor, { credential, state }, clientOf(request), new URL(request.url).origin);
  return text ? (ctx, request, actor) => prove(ctx, actor, text, clientOf(request)) : null;
}

/**
 * Lets a request pass when it needs no proof, the last one is recent, or its form has a right one.
 * @param route as registered
 * @param body of a form; the field of the proof is taken out
 * @throws AppError `reauthentication_required`, `too_many_attempts`
 */
export async function checkProof(
  ctx: Ctx,
  request: Request,
  route: string,
  actor: Actor,
  body: unknown,
): Promise<void> {
  const isPage = !route.startsWith("/v1/");
  const proof = isPage ? takeProof(body, route === "/confirm") : null;
  if (!SENSITIVE.some((pattern) => pattern.test(`${request.method} ${route}`)) || isProved(ctx, actor)) return;
  const state = requestState(request);
  if (isPage && state && request.method === "POST") state.posted = fieldsOf(body) ?? {};
  if (state && isPage) state.canUsePasskey = await hasUsablePasskey(ctx, actor, new URL(request.url).origin);
  if (!proof)
    throw needed(
      isPage
        ? "Confirm that it is you before you continue."
        : "This needs a recent proof that it is you: send your password or a code to POST /v1/reauthenticate, then repeat the request.",
    );
  try {
    await proof(ctx, request, actor);
  } catch (error) {
    if (error instanceof AppError && /^(wrong_|passkey_)/.test(error.code)) throw needed(error.message);
    throw error;
  }
}
