/** The home page, the search of the command palette, the theme, and the sample dataset. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { assetPath } from "../../../src/assets.ts";
import { usageSummary } from "../../../src/billing/ledger/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { createFile } from "../../../src/data/files/service.ts";
import { cameFrom, html, pageOf, redirect, themeCookie } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import type { Hit } from "../../../src/insights/home/model.ts";
import { findAnything, overview } from "../../../src/insights/home/service.ts";
import { HomeBoard, HomePage } from "./home.tsx";
import { SearchPage, SearchResults } from "./search.tsx";

/** Pages that the search finds. */
const PAGES: [label: string, href: string, icon: Hit["icon"], keywords: string][] = [
  ["New job", "/jobs/new", "plus", "train fine-tune start run"],
  ["Home", "/", "right", "start overview"],
  ["Datasets", "/datasets", "right", "data upload files"],
  ["Jobs", "/jobs", "right", "runs training"],
  ["Compare runs", "/jobs/compare", "right", "overlay"],
  ["Models", "/models", "right", "base install license"],
  ["Evaluations", "/evaluations", "right", "before after score"],
  ["Playground", "/playground", "right", "chat try"],
  ["Deployments", "/deployments", "right", "endpoint serve"],
  ["Queue", "/queue", "right", "waiting timeline priority schedule"],
  ["Hosts", "/hosts", "right", "machines gpu memory disk"],
  ["Usage", "/usage", "right", "cost tokens budget"],
  ["Settings", "/settings", "right", "account keys api password"],
  ["API reference", "/docs", "right", "openapi curl"],
];

const SAMPLE = "support-messages.jsonl";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const ThemeForm = v.object({ theme: v.optional(v.picklist(THEMES)) });
const SearchQuery = v.object({ q: v.optional(v.pipe(v.string(), v.maxLength(200)), "") });

/** A request as a handler sees it. */
interface Visit {
  request: Request;
  actor: Actor;
}

async function homePage(ctx: Ctx, { request, actor }: Visit): Promise<Response> {
  const props = {
    ...(await overview(ctx, actor)),
    monthUsd: (await usageSummary(ctx, actor, { groupBy: "kind" })).total_cost_usd,
  };
  return html(pageOf(ctx, request, actor), <HomePage {...props} />, {
    fragments: { home: () => <HomeBoard {...props} /> },
  });
}

/** Pages whose label or keywords contain `query`; a few of them when it is empty. */
function findPages(query: string): Hit[] {
  const wanted = query.trim().toLowerCase();
  return PAGES.filter(([label, , , keywords]) => `${label} ${keywords}`.toLowerCase().includes(wanted))
    .slice(0, wanted ? 6 : 4)
    .map(([label, href, icon]): Hit => ({ label, href, icon }));
}

type Search = Visit & { query: v.InferOutput<typeof SearchQuery> };

async function searchPage(ctx: Ctx, { request, actor, query: { q } }: Search): Promise<Response> {
  const groups = [{ title: "Go to", hits: findPages(q) }, ...(await findAnything(ctx, actor, q))];
  return html(pageOf(ctx, request, actor), <SearchPage groups={groups} query={q} />, {
    fragments: { "search-results": () => <SearchResults groups={groups} query={q} /> },
  });
}

/** Sets the theme of the form, or the one after the current theme. */
function setTheme(ctx: Ctx, request: Request, chosen: Theme | undefined): Response {
  const current = pageOf(ctx, request, null).info.theme ?? "system";
  const theme = chosen ?? THEMES[(THEMES.indexOf(current) + 1) % THEMES.length] ?? "system";
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
    .post("/theme", ({ request, body }) => setTheme(ctx, request, body.theme), { body: ThemeForm })
    .post("/datasets/sample", (visit) => addSampleDataset(ctx, visit));
