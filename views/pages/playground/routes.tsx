/** The playground page: a client of the gateway in the browser. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Ctx } from "../../../src/ctx.ts";
import { listDatasets } from "../../../src/data/datasets/service.ts";
import { html, pageOf } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listModels } from "../../../src/models/tuned/service.ts";
import { PlaygroundPage } from "./page.tsx";

const MAX_PANES = 4;
const DATASETS = 100;
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Query = v.object({ models: text(2000), system: text(8000), prompt: text(8000) });

export const gatewayPages = (ctx: Ctx) =>
  new Elysia({ name: "gateway.pages", seed: ctx.installation, detail: { hide: true } }).use(session(ctx)).get(
    "/playground",
    async ({ request, actor, query }) => {
      const page = pageOf(ctx, request, actor);
      const listed = (await listModels(ctx, actor)).map((row) => row.id);
      const asked = query.models.split(",").filter(Boolean).slice(0, MAX_PANES);
      // Checkpoints are not listed, but a link may name one.
      const models = [...listed, ...asked.filter((id) => /:ckpt-step-\d+$/.test(id))];
      const known = asked.filter((id) => models.includes(id));
      const newest = listed.find((id) => id.startsWith("ft:"));
      const usual = newest
        ? [newest.split(":")[1] ?? "", newest].filter((id) => listed.includes(id))
        : listed.slice(0, 1);
      const datasets = (await listDatasets(ctx, actor, { limit: DATASETS }))
        .filter(({ version }) => version?.status === "ready" && version.rowType === "chat")
        .map((row) => ({ id: row.dataset.id, name: row.dataset.name }));
      const baseUrl = ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin;
      return html(
        page,
        <PlaygroundPage
          models={models}
          chosen={known.length ? known : usual}
          system={query.system}
          prompt={query.prompt}
          baseUrl={baseUrl}
          datasets={datasets}
        />,
      );
    },
    { query: Query },
  );
