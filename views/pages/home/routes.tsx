/** The home page, the search of the command palette, the theme, and the sample dataset. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { assetPath } from "../../../src/assets.ts";
import { usageSummary } from "../../../src/billing/ledger/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { createFile } from "../../../src/data/files/service.ts";
import { cameFrom, html, pageOf, redirect, themeCookie } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { findAnything, overview } from "../../../src/insights/home/service.ts";
import { can } from "../../../src/roles.ts";
import { findCommands } from "./commands.ts";
import { HomeBoard, HomePage } from "./home.tsx";
import { SearchPage, SearchResults } from "./search.tsx";

const SAMPLE = "support-messages.jsonl";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const ThemeForm = v.object({ theme: v.picklist(THEMES) });
const SearchQuery = v.object({ q: v.optional(v.pipe(v.string(), v.maxLength(200)), "") });

/** A request as a handler sees it. */
interface Visit {
  request: Request;
  actor: Actor;
}

async function homePage(ctx: Ctx, { request, actor }: Visit): Promise<Response> {
  if (!can(actor, "objects.read") && can(actor, "review")) return redirect(request, "/review");
  // Who sees usage only has nothing on this page.
  if (!can(actor, "objects.read")) return redirect(request, "/usage");
  const props = {
    ...(await overview(ctx, actor)),
    monthUsd: (await usageSummary(ctx, actor, { groupBy: "kind" })).total_cost_usd,
  };
  return html(pageOf(ctx, request, actor), <HomePage {...props} />, {
    fragments: { home: () => <HomeBoard {...props} /> },
  });
}

type Search = Visit & { query: v.InferOutput<typeof SearchQuery> };

async function searchPage(ctx: Ctx, { request, actor, query: { q } }: Search): Promise<Response> {
  const page = pageOf(ctx, request, actor);
  const hits = findCommands(q, page.info.viewer);
  const groups = [{ title: "Go to", hits }, ...(await findAnything(ctx, actor, q))];
  return html(page, <SearchPage groups={groups} query={q} />, {
    fragments: { "search-results": () => <SearchResults groups={groups} query={q} /> },
  });
}

/** Stores the chosen theme, and returns to the page. */
function setTheme(request: Request, theme: Theme): Response {
  const answer = redirect(request, cameFrom(request) ?? "/");
  answer.headers.append("set-cookie", themeCookie(request, theme));
  return answer;
}

async function addSampleDataset(ctx: Ctx, { request, actor }: Visit): Promise<Response> {
  const body = Bun.file(assetPath(`examples/${SAMPLE}`)).stream();
  await createFile(ctx, actor, { filename: SAMPLE, purpose: "fine-tune", body });
  return redirect(request, "/jobs/new", "The sample dataset was added. Start a job with it now.");
}

export const homePages = (ctx: Ctx) =>
  new Elysia({ name: "home.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/", (visit) => homePage(ctx, visit))
    .get("/search", (visit) => searchPage(ctx, visit), { query: SearchQuery })
    .post("/theme", ({ request, body }) => setTheme(request, body.theme), { body: ThemeForm })
    .post("/datasets/sample", (visit) => addSampleDataset(ctx, visit));
