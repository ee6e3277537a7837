/** OpenAI's /v1/organization/usage/* and /v1/organization/costs, for scripts that read them. */
import { Elysia } from "elysia";
import { completionsUsage, costs, noUsage } from "../billing/exports/openai.ts";
import {
  CompletionsPage,
  CompletionsUsageQuery,
  CostsPage,
  CostsQuery,
  NoUsagePage,
  NoUsageQuery,
} from "../billing/exports/openai-model.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const tags = ["Usage"];
const BUCKETS =
  "As OpenAI's API: buckets of `bucket_width` from `start_time` on, in UTC, in pages of `limit` buckets. A team is its one project. It needs the permission to see the usage of the whole team.";

/** Kinds of use that OpenAI counts apart and this product does not have, or counts with completions. */
const OTHER_KINDS = [
  "embeddings",
  "moderations",
  "images",
  "audio_speeches",
  "audio_transcriptions",
  "vector_stores",
  "code_interpreter_sessions",
  "file_search_calls",
  "web_search_calls",
] as const;

export const organizationUsageApi = (ctx: Ctx) => {
  const app = new Elysia({ name: "organization-usage.api", prefix: "/v1/organization", seed: ctx.installation })
    .use(session(ctx))
    .get("/costs", ({ actor, query }) => costs(ctx, actor, query), {
      query: CostsQuery,
      detail: { tags, summary: "Cost by day, as OpenAI's API", description: BUCKETS, responses: answers(CostsPage) },
    })
    .get("/usage/completions", ({ actor, query }) => completionsUsage(ctx, actor, query), {
      query: CompletionsUsageQuery,
      detail: {
        tags,
        summary: "Requests and tokens by bucket, as OpenAI's API",
        description: `${BUCKETS} Requests for embeddings are counted here too.`,
        responses: answers(CompletionsPage),
      },
    });
  for (const kind of OTHER_KINDS)
    app.get(`/usage/${kind}`, ({ query }) => noUsage(ctx, query), {
      query: NoUsageQuery,
      detail: {
        tags,
        summary: `Buckets without results: ${kind.replaceAll("_", " ")} are not counted apart`,
        description: BUCKETS,
        responses: answers(NoUsagePage),
      },
    });
  return app;
};
