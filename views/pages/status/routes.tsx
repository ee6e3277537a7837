/** Page route of the status. Visitors without an account share one rendered page, so that they cost nothing. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listIncidents } from "../../../src/insights/status/incidents.ts";
import { keptPages, readStatus } from "../../../src/insights/status/summary.ts";
import { listed } from "../../../src/lib/page.ts";
import { StatusPage } from "./page.tsx";

const PAGE = 20;
const Query = v.object({ after: v.optional(v.pipe(v.string(), v.maxLength(100)), "") });
const VISITOR = { "cache-control": "public, max-age=15", vary: "cookie, hx-request, hx-target" };

interface Visit {
  request: Request;
  actor: Actor;
  query: v.InferOutput<typeof Query>;
}

async function render(ctx: Ctx, { request, actor, query }: Visit, headers?: Record<string, string>) {
  const status = await readStatus(ctx, actor);
  const rows = await listIncidents(ctx, { after: query.after || undefined, limit: PAGE });
  // Open ones are at the top already.
  const incidents = listed(rows, PAGE);
  const closed = { ...incidents, items: incidents.items.filter(({ resolved_at }) => resolved_at !== null) };
  return html(pageOf(ctx, request, actor), <StatusPage status={status} incidents={closed} />, { headers });
}

async function showStatus(ctx: Ctx, visit: Visit) {
  const { request, actor, query } = visit;
  // Refuses before anything kept is answered.
  await readStatus(ctx, actor);
  if (actor.userId || query.after || request.headers.has("hx-request")) return render(ctx, visit);
  const { info } = pageOf(ctx, request, null);
  if (info.flash) return render(ctx, visit);
  const pages = keptPages(ctx);
  const key = info.theme ?? "";
  let page = pages.get(key);
  if (page === undefined) {
    page = await (await render(ctx, visit, VISITOR)).text();
    pages.set(key, page);
  }
  return new Response(page, { headers: { "content-type": "text/html; charset=utf-8", ...VISITOR } });
}

export const statusPages = (ctx: Ctx) =>
  new Elysia({ name: "status.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/status", (visit) => showStatus(ctx, visit), { query: Query });
