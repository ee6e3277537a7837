/** JSON API of beta features: which there are, and for administrators switching them. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { AdminBetaView, BetaView, SwitchBeta } from "../accounts/beta/model.ts";
import { listBeta, listSwitches, switchBeta } from "../accounts/beta/service.ts";
import type { Ctx } from "../ctx.ts";
import { answers } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { listOf, pageOf } from "../lib/page.ts";
import { id } from "../lib/request-fields.ts";

const Id = v.strictObject({ id });
const MAX = 1000;

export const betaApi = (ctx: Ctx) =>
  new Elysia({ name: "beta.api", prefix: "/v1", seed: ctx.installation })
    .use(session(ctx))
    .get("/beta", async ({ actor }) => pageOf(await listBeta(ctx, actor), MAX), {
      detail: {
        tags: ["Account"],
        summary: "List beta features, and whether they are on for your organization",
        description:
          "Answers of a beta feature have the header `x-beta-feature`. One that is off answers 403 `beta_feature_off`.",
        responses: answers(listOf(BetaView)),
      },
    })
    .get("/admin/beta", async ({ actor }) => pageOf(await listSwitches(ctx, actor), MAX), {
      detail: {
        tags: ["Administration"],
        summary: "List beta features with their switches, and who set them",
        responses: answers(listOf(AdminBetaView)),
      },
    })
    .post("/admin/beta/:id", ({ actor, params, body }) => switchBeta(ctx, actor, params.id, body), {
      params: Id,
      body: SwitchBeta,
      detail: {
        tags: ["Administration"],
        summary: "Switch a beta feature for the installation or one organization; null removes the switch",
        responses: answers(AdminBetaView),
      },
    });
