/** /v1/datasets/{id}/pii: personal data found in a version, what is decided about it, and the policy of the team. */
import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../ctx.ts";
import { VersionQuery } from "../data/datasets/model.ts";
import { decide } from "../data/privacy/decide.ts";
import { foundRows, readPii } from "../data/privacy/findings.ts";
import {
  Decide,
  FoundRowList,
  FoundRowsQuery,
  foundRowList,
  PiiView,
  PolicyView,
  policyView,
  ScanAgain,
  SetPolicy,
} from "../data/privacy/model.ts";
import { policyOf, setPolicy } from "../data/privacy/policy.ts";
import { scanAgain } from "../data/privacy/scan.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";

const Id = v.strictObject({ id: v.pipe(v.string(), v.maxLength(100)) });
const tags = ["Datasets"];

interface Call {
  actor: Actor;
  params: v.InferOutput<typeof Id>;
}
type With<Name extends "query" | "body", S extends v.GenericSchema> = Call & Record<Name, v.InferOutput<S>>;

const handlers = (ctx: Ctx) => ({
  get: ({ actor, params, query }: With<"query", typeof VersionQuery>) => readPii(ctx, actor, params.id, query.version),
  async rows({ actor, params, query }: With<"query", typeof FoundRowsQuery>) {
    return foundRowList(await foundRows(ctx, actor, params.id, query));
  },
  async decide({ actor, params, body }: With<"body", typeof Decide>) {
    const version = await readPii(ctx, actor, params.id, body.version);
    await decide(ctx, actor, params.id, { ...body, version: version.version_id });
    return readPii(ctx, actor, params.id, version.version_id);
  },
  async scan({ actor, params, body }: With<"body", typeof ScanAgain>) {
    await scanAgain(ctx, actor, params.id, body.version);
    return readPii(ctx, actor, params.id, body.version);
  },
});

export const datasetPiiApi = (ctx: Ctx) => {
  const route = handlers(ctx);
  return new Elysia({ name: "dataset-pii.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/datasets/:id/pii", route.get, {
      params: Id,
      query: VersionQuery,
      detail: { tags, summary: "Retrieve what was found of personal data and secrets", responses: answers(PiiView) },
    })
    .get("/datasets/:id/pii/rows", route.rows, {
      params: Id,
      query: FoundRowsQuery,
      detail: {
        tags,
        summary: "List the rows with personal data; the values are masked",
        description: "`kind` lists only rows with findings of this kind.",
        responses: answers(FoundRowList),
      },
    })
    .post("/datasets/:id/pii", route.decide, {
      params: Id,
      body: Decide,
      detail: {
        tags,
        summary: "Decide about the findings: leave the rows out, mask the values, or accept them",
        description:
          "`leave_out` and `mask` create the next version, `next_version_id` of the decision. `accept` needs a `reason`, and the dataset's creator or somebody who manages the team; it is recorded in the audit log.",
        responses: answers(PiiView),
      },
    })
    .post("/datasets/:id/pii/scan", route.scan, {
      params: Id,
      body: ScanAgain,
      detail: { tags, summary: "Scan a version again", responses: answers(PiiView) },
    })
    .get("/organization/privacy", async ({ actor }) => policyView(await policyOf(ctx, actor.org)), {
      detail: {
        tags: ["Organization"],
        summary: "Retrieve what your organization requires about personal data",
        responses: answers(PolicyView),
      },
    })
    .post(
      "/organization/privacy",
      async ({ actor, body }) => policyView(await setPolicy(ctx, actor, body.pii_policy === "require_decision")),
      {
        body: SetPolicy,
        detail: {
          tags: ["Organization"],
          summary: "Require a decision before jobs use data with personal data",
          responses: answers(PolicyView),
        },
      },
    );
};
