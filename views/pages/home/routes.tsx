/** The start page, the search behind the palette, the theme, and the sample dataset of a new user. */
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

const PLACES: [label: string, href: string, icon: Hit["icon"], also: string][] = [
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

export const homePages = (ctx: Ctx) => {
  const props = async (actor: Actor) => ({
    ...(await overview(ctx, actor)),
    monthUsd: (await usageSummary(ctx, actor, { groupBy: "kind" })).total_cost_usd,
  });

  const find = async (actor: Actor, query: string) => {
    const wanted = query.trim().toLowerCase();
    const places = PLACES.filter(([label, , , also]) => `${label} ${also}`.toLowerCase().includes(wanted));
    const hits = places.slice(0, wanted ? 6 : 4).map(([label, href, icon]): Hit => ({ label, href, icon }));
    return [{ title: "Go to", hits }, ...(await findAnything(ctx, actor, query))];
  };

  return new Elysia({ name: "home.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/", async ({ request, actor }) => {
      const of = await props(actor);
      return html(pageOf(ctx, request, actor), <HomePage {...of} />, {
        fragments: { home: () => <HomeBoard {...of} /> },
      });
    })
    .get(
      "/search",
      async ({ request, actor, query: { q } }) => {
        const of = { groups: await find(actor, q), query: q };
        return html(pageOf(ctx, request, actor), <SearchPage {...of} />, {
          fragments: { "search-results": () => <SearchResults {...of} /> },
        });
      },
      { query: v.object({ q: v.optional(v.pipe(v.string(), v.maxLength(200)), "") }) },
    )
    .post(
      "/theme",
      ({ request, body }) => {
        const { theme: old } = pageOf(ctx, request, null).info;
        const theme = body.theme ?? (old === "dark" ? "light" : "dark");
        const answer = redirect(request, cameFrom(request) ?? "/");
        answer.headers.append("set-cookie", themeCookie(request, theme));
        return answer;
      },
      { body: v.object({ theme: v.optional(v.picklist(["light", "dark"])) }) },
    )
    .post("/datasets/sample", async ({ request, actor }) => {
      const body = Bun.file(assetPath(`examples/${SAMPLE}`)).stream();
      await createFile(ctx, actor, { filename: SAMPLE, purpose: "fine-tune", body });
      return redirect(request, "/jobs/new", "The sample dataset is here. Now start a job with it.");
    });
};
