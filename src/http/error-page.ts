/** The page a browser sees when something failed; an unknown visitor is led to the sign-in page instead. */
import type { AppError } from "../errors.ts";

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (char) => ESCAPES[char] ?? char);

/** An HTML answer for `error`; 401 redirects to `/login?next=…` (for htmx through `HX-Redirect`). */
export function errorPage(
  request: Request,
  error: AppError,
  status: number,
  headers: Record<string, string>,
): Response {
  if (status === 401) {
    const url = new URL(request.url);
    const next = request.method === "GET" ? `?next=${encodeURIComponent(url.pathname + url.search)}` : "";
    if (request.headers.has("hx-request"))
      return new Response(null, { status: 401, headers: { ...headers, "hx-redirect": `/login${next}` } });
    return new Response(null, { status: 303, headers: { ...headers, location: `/login${next}` } });
  }
  const body = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${status}</title><link rel="stylesheet" href="/assets/app.css"></head><body><main class="error-page"><h1>${escapeHtml(error.message)}</h1><p class="muted">${status} · ${escapeHtml(error.code)} · ${escapeHtml(headers["x-request-id"] ?? "")}</p><p><a class="button" href="/">Go to the start page</a></p></main></body></html>`;
  return new Response(body, { status, headers: { ...headers, "content-type": "text/html; charset=utf-8" } });
}
