/**
 * Answers errors to browsers: a page, the JSON envelope for a script, or a redirect to the sign-in page for an unknown
 * visitor.
 */
import { ConfirmPage } from "../../views/pages/auth/confirm.tsx";
import { ErrorPage } from "../../views/pages/error.tsx";
import { SuspendedPage } from "../../views/pages/suspended.tsx";
import type { Ctx, Hold } from "../ctx.ts";
import { type AppError, ERROR_TABLE } from "../errors.ts";
import { cameFrom, html, pageOf, redirect } from "./html.ts";
import { requestState } from "./request-state.ts";

/** Redirects to the sign-in page and back afterwards; the page says so when a session has ended. */
function toSignIn(request: Request, headers: Record<string, string>): Response {
  const url = new URL(request.url);
  const fragment = request.headers.has("hx-request");
  // A sent form or a fragment is not a page to return to; the page around it is.
  const next = request.method === "GET" && !fragment ? url.pathname + url.search : cameFrom(request);
  const query = new URLSearchParams();
  if (next) query.set("next", next);
  if (/(^|;\s*)(__Host-)?ftl-session-/.test(request.headers.get("cookie") ?? "")) query.set("ended", "1");
  const location = query.size ? `/login?${query}` : "/login";
  if (fragment) return new Response(null, { status: 401, headers: { ...headers, "hx-redirect": location } });
  return new Response(null, { status: 303, headers: { ...headers, location } });
}

/** Redirects to the page that asks to accept the terms, and back afterwards. */
function toTerms(request: Request, headers: Record<string, string>): Response {
  const url = new URL(request.url);
  const fragment = request.headers.has("hx-request");
  const next = request.method === "GET" && !fragment ? url.pathname + url.search : (cameFrom(request) ?? "/");
  const location = `/accept-terms?${new URLSearchParams({ next })}`;
  if (fragment) return new Response(null, { status: 403, headers: { ...headers, "hx-redirect": location } });
  return new Response(null, { status: 303, headers: { ...headers, location } });
}

/** The page of a suspended organization; a fragment leads to it. */
function toSuspended(ctx: Ctx, request: Request, hold: Hold, headers: Record<string, string>): Response {
  if (request.headers.has("hx-request"))
    return new Response(null, { status: 403, headers: { ...headers, "hx-redirect": "/" } });
  const page = pageOf(ctx, request, requestState(request)?.actor ?? null);
  return html(page, <SuspendedPage hold={hold} />, { status: 403, headers });
}

/** Asks for the password again, and continues with the same request. */
function askProof(ctx: Ctx, request: Request, error: AppError, headers: Record<string, string>): Response {
  const url = new URL(request.url);
  const state = requestState(request);
  const path = url.pathname + url.search;
  if (request.headers.has("hx-request") || (request.method !== "POST" && request.method !== "GET")) {
    const next = cameFrom(request) ?? "/";
    return new Response(null, {
      status: 403,
      headers: { ...headers, "hx-redirect": `/confirm?${new URLSearchParams({ next })}` },
    });
  }
  const props = state?.posted ? { action: path, fields: state.posted } : { action: "/confirm", fields: { next: path } };
  const actor = state?.actor ?? null;
  const next = request.method === "GET" ? path : (cameFrom(request) ?? "/");
  const confirm = (
    <ConfirmPage
      {...props}
      message={error.message}
      actor={actor}
      next={next}
      withPasskey={state?.canUsePasskey ?? false}
    />
  );
  return html(pageOf(ctx, request, actor), confirm, { status: 403, headers });
}

/**
 * The answer to a browser for `error`.
 * @param body the error as the API reports it; htmx gets it unchanged and shows its message without replacing the page
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
  if (error.code === "two_factor_required" && status === 403) return redirect(request, "/settings/two-factor");
  if (error.code === "terms_not_accepted" && status === 403) return toTerms(request, headers);
  const hold = requestState(request)?.actor?.hold;
  if (error.code === "account_suspended" && hold) return toSuspended(ctx, request, hold, headers);
  if (error.code === "reauthentication_required") return askProof(ctx, request, error, headers);
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
