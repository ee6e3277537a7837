/** The playground page; its script is a client of the gateway. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { listDatasets } from "../../../src/data/datasets/service.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { deletedAmong } from "../../../src/models/tuned/lookup.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import { PlaygroundPage } from "./page.tsx";

const MAX_PANES = 4;
const DATASETS = 100;
const CHECKPOINT = /:ckpt-step-\d+$/;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({ models: text(2000), system: text(8000), prompt: text(8000) });

/**
 * The models to choose from, and those of the panes: the asked ones that exist, else the newest model and its base.
 * `gone`: asked ones that do not exist, so that nobody mistakes another model for one of them.
 */
async function choose(ctx: Ctx, actor: Actor, listed: string[], asked: string[]) {
  // Checkpoints are not listed, but a link may name one.
  const checkpoints = asked.filter((id) => CHECKPOINT.test(id));
  const gone = [
    ...(await deletedAmong(ctx, actor.org, checkpoints)),
    ...asked.filter((id) => !CHECKPOINT.test(id) && !listed.includes(id)),
  ];
  const models = [...listed, ...checkpoints.filter((id) => !gone.includes(id))];
  const known = asked.filter((id) => models.includes(id));
  if (known.length > 0) return { models, chosen: known, gone };
  const newest = listed.find((id) => id.startsWith("ft:"));
  const first = newest && gone.length === 0 ? [newest.split(":")[1] ?? "", newest] : listed.slice(0, 1);
  return { models, chosen: first.filter((id) => listed.includes(id)), gone };
}

/** The newest datasets that chat rows can be saved to. */
async function chatDatasets(ctx: Ctx, actor: Actor): Promise<{ id: string; name: string }[]> {
  const datasets = await listDatasets(ctx, actor, { limit: DATASETS });
  return datasets
    .filter(({ version }) => version?.status === "ready" && version.rowType === "chat")
    .map(({ dataset }) => ({ id: dataset.id, name: dataset.name }));
}

interface Visit {
  request: Request;
  actor: Actor;
  query: v.InferOutput<typeof Query>;
}

async function playgroundPage(ctx: Ctx, { request, actor, query }: Visit): Promise<Response> {
  const page = pageOf(ctx, request, actor);
  const listed = (await listModels(ctx, actor)).map((row) => row.id);
  const props = {
    ...(await choose(ctx, actor, listed, query.models.split(",").filter(Boolean).slice(0, MAX_PANES))),
    system: query.system,
    prompt: query.prompt,
    baseUrl: ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin,
    datasets: await chatDatasets(ctx, actor),
  };
  return html(page, <PlaygroundPage {...props} />);
}

export const gatewayPages = (ctx: Ctx) =>
  new Elysia({ name: "gateway.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/playground", (visit) => playgroundPage(ctx, visit), { query: Query });
