/**
 * What a browser sees when something failed: a page in the frame, the envelope for a script, or the way to the sign-in
 * page for an unknown visitor.
 */
import { ErrorPage } from "../../views/pages/error.tsx";
import type { Ctx } from "../ctx.ts";
import { type AppError, ERROR_TABLE } from "../errors.ts";
import { cameFrom, html, pageOf } from "./html.ts";
import { requestState } from "./request-state.ts";

/** Leads to the sign-in page and back again; a sign-in that was there and has ended is said so. */
function toSignIn(request: Request, headers: Record<string, string>): Response {
  const url = new URL(request.url);
  const fragment = request.headers.has("hx-request");
  // A form that was sent, or a part of a page, is no place to come back to: the page it stands on is.
  const next = request.method === "GET" && !fragment ? url.pathname + url.search : cameFrom(request);
  const query = new URLSearchParams();
  if (next) query.set("next", next);
  if (/(^|;\s*)(__Host-)?ftl-session-/.test(request.headers.get("cookie") ?? "")) query.set("ended", "1");
  const location = query.size ? `/login?${query}` : "/login";
  if (fragment) return new Response(null, { status: 401, headers: { ...headers, "hx-redirect": location } });
  return new Response(null, { status: 303, headers: { ...headers, location } });
}

/**
 * The answer to a browser for `error`.
 * @param body the error as the API tells it; htmx gets it as it is, and shows its message without touching the page
 */
export function errorPage(
  ctx: Ctx,
  request: Request,
  error: AppError,
  headers: Record<string, string>,
  body: unknown,
): Response {
  const { status } = ERROR_TABLE[error.kind];
  if (status === 401) return toSignIn(request, headers);
  if (request.headers.has("hx-request"))
    return Response.json(body, { status, headers: { ...headers, "hx-reswap": "none", "hx-push-url": "false" } });
  const page = pageOf(ctx, request, requestState(request)?.actor ?? null);
  const props = {
    status,
    message: error.message,
    code: error.code,
    requestId: headers["x-request-id"] ?? "",
    sent: request.method !== "GET" && request.method !== "HEAD",
    back: cameFrom(request),
  };
  return html(page, <ErrorPage {...props} />, { status, headers });
}
