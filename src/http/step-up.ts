/**
 * Sensitive routes ask a browser session for a new proof. A form is shown again with its fields and a field for the
 * password; the API answers 403.
 */
import { prove } from "../accounts/auth/proof.ts";
import { isProved } from "../accounts/auth/sessions.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { clientOf, requestState } from "./request-state.ts";

/** The field of the page that asks for the proof. */
export const PROOF_FIELD = "reauthentication";

const SENSITIVE: readonly RegExp[] = [
  /^\w+ (\/v1)?\/admin(\/|$)/,
  /^(POST|DELETE) \/(v1\/organization|team)(\/|$)/,
  /^POST \/(v1|settings)\/keys$/,
  /^(DELETE \/v1\/models\/:id|POST \/models\/:id\/delete)$/,
];

const needed = (message: string) => new AppError("forbidden", "reauthentication_required", message);

/** The text fields of a form that a browser sent; null for other bodies. */
function fieldsOf(body: unknown): Record<string, string> | null {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return null;
  const texts = Object.entries(body).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(texts);
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
  const given = fieldsOf(body)?.[PROOF_FIELD];
  const isPage = !route.startsWith("/v1/");
  if (isPage && given !== undefined && route !== "/confirm") delete (body as Record<string, unknown>)[PROOF_FIELD];
  if (!SENSITIVE.some((pattern) => pattern.test(`${request.method} ${route}`)) || isProved(ctx, actor)) return;
  const state = requestState(request);
  if (isPage && state && request.method === "POST") state.posted = fieldsOf(body) ?? {};
  if (!isPage || !given)
    throw needed(
      isPage
        ? "Give your password again, or a code of your authenticator app."
        : "This needs a recent proof that it is you: send your password or a code to POST /v1/reauthenticate, then repeat the request.",
    );
  try {
    await prove(ctx, actor, given, clientOf(request));
  } catch (error) {
    if (error instanceof AppError && /^wrong_/.test(error.code)) throw needed(error.message);
    throw error;
  }
}
