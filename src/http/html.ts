/** Turns a view into an answer: the whole page, or only the fragment htmx asked for; and redirects with a message. */
import { h, type VNode } from "preact";
import { renderToString } from "preact-render-to-string";
import { type Flash, PageContext, type PageInfo } from "../../views/context.ts";
import { knownEnabled } from "../accounts/restrictions/requests.ts";
import { publishedDocuments } from "../accounts/terms/versions.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { cookieName, readCookie, writeCookie } from "../lib/cookies.ts";
import { contactOf } from "../lib/text/contact.ts";
import { owns } from "../roles.ts";
import { mayCall } from "./access.ts";
import { assetBase } from "./assets.ts";
import { requestState } from "./request-state.ts";

const FLASH = "flash";
const FLASH_S = 30;
const THEME = "theme";
const THEME_S = 365 * 86_400;

/** What rendering needs from its request. */
interface PageRequest {
  request: Request;
  info: PageInfo;
}

export const isSecure = (request: Request) => requestState(request)?.secure ?? false;

const cookie = (request: Request, name: string) =>
  readCookie(request.headers.get("cookie"), cookieName(name, isSecure(request)));

const flashCookie = (request: Request, value: string, maxAgeS: number) =>
  writeCookie(FLASH, value, { secure: isSecure(request), maxAgeS });

/** The `Set-Cookie` value that stores the chosen theme. */
export const themeCookie = (request: Request, theme: string) =>
  writeCookie(THEME, theme, { secure: isSecure(request), maxAgeS: THEME_S });

function readFlash(request: Request): Flash | null {
  const text = cookie(request, FLASH);
  if (!text) return null;
  try {
    const found = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as Partial<Flash>;
    if (typeof found.text !== "string") return null;
    return { kind: found.kind === "bad" ? "bad" : "ok", text: found.text.slice(0, 500) };
  } catch {
    return null;
  }
}

function viewerOf(actor: Actor): PageInfo["viewer"] {
  return {
    email: actor.email ?? actor.userId,
    role: actor.role,
    teamRole: actor.teamRole,
    twoFactorBy: actor.twoFactorBy ?? null,
    may: (method, path) => mayCall(actor, method, path),
    owns: (createdBy) => owns(actor, createdBy),
  };
}

/** The link to the status page, for those who may open it. */
function statusLink(ctx: Ctx, actor: Actor | null): PageInfo["footer"] {
  const shown = ctx.config.status_page === "public" || (ctx.config.status_page === "members" && actor?.userId);
  return shown ? [{ label: "Status", href: "/status" }] : [];
}

/** Facts of a request for the views; `actor` is null before signing in. */
export function pageOf(ctx: Ctx, request: Request, actor: Actor | null): PageRequest {
  const theme = cookie(request, THEME);
  return {
    request,
    info: {
      url: new URL(request.url),
      now: ctx.clock.now(),
      theme: theme === "light" || theme === "dark" ? theme : null,
      assets: assetBase(),
      viewer: actor?.userId ? viewerOf(actor) : null,
      flash: readFlash(request),
      banners: requestState(request)?.banners ?? [],
      reports: knownEnabled(ctx),
      footer: [...publishedDocuments(ctx), ...statusLink(ctx, actor)],
      contact: contactOf(ctx.config.contact_address),
      abuse: contactOf(ctx.config.abuse_address),
    },
  };
}

interface HtmlOptions {
  status?: number;
  headers?: Record<string, string>;
  /** Parts of the page by element id: sent alone when htmx targets that element. */
  fragments?: Record<string, () => VNode>;
}

/** The id of the element htmx will replace, from `HX-Target: div#jobs`; null for ordinary requests. */
function targetId(request: Request): string | null {
  if (!request.headers.has("hx-request") || request.headers.get("hx-history-restore-request")) return null;
  return request.headers.get("hx-target")?.split("#")[1] ?? null;
}

/** Renders `page`, or the one of `fragments` that the request targets. */
export function html(of: PageRequest, page: VNode, options: HtmlOptions = {}): Response {
  const target = targetId(of.request);
  const fragment = target ? options.fragments?.[target] : undefined;
  const body = renderToString(h(PageContext.Provider, { value: of.info }, fragment ? fragment() : page));
  const headers = new Headers({
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    vary: "hx-request, hx-target",
    ...options.headers,
  });
  if (of.info.flash && !fragment) headers.append("set-cookie", flashCookie(of.request, "", 0));
  return new Response(fragment ? body : `<!doctype html>${body}`, { status: options.status ?? 200, headers });
}

/** Redirects after a form: 303, or `HX-Redirect` under htmx. `location` is a path of this site. */
export function redirect(request: Request, location: string, flash?: Flash | string): Response {
  const headers = new Headers({ "cache-control": "no-store" });
  if (flash) {
    const value = typeof flash === "string" ? { kind: "ok", text: flash } : flash;
    const text = Buffer.from(JSON.stringify(value)).toString("base64url");
    headers.append("set-cookie", flashCookie(request, text, FLASH_S));
  }
  const htmx = request.headers.has("hx-request");
  // A header takes ASCII only, and a path may hold any id that a client sent.
  const target = safePath(location).replace(/[^\x21-\x7e]/gu, encodeURIComponent);
  headers.set(htmx ? "hx-redirect" : "location", target);
  return new Response(null, { status: htmx ? 200 : 303, headers });
}

/** `path` when it is an address of this site, else "/": a `next` parameter must not lead to another site. */
export function safePath(path: string | null | undefined): string {
  return path && /^\/(?![/\\])[^\p{Cc}]*$/u.test(path) && !path.includes("\\") ? path : "/";
}

/** The page of this site that the request came from; null for another or unknown origin. */
export function cameFrom(request: Request): string | null {
  const from = URL.parse(request.headers.get("referer") ?? "");
  const host = request.headers.get("host") ?? new URL(request.url).host;
  return from?.host === host ? safePath(from.pathname + from.search) : null;
}
