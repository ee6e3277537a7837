/** Renders the page of a fine-tuned model, also with a form that was refused. */
import { betaRefusal } from "../../../src/accounts/beta/service.ts";

import { creatorName } from "../../../src/accounts/organizations/creators.ts";
import { knownOfModel, restrictionOf } from "../../../src/accounts/restrictions/service.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { describeBaseModel } from "../../../src/models/base/service.ts";
import { modelLineage } from "../../../src/models/tuned/lineage.ts";
import { CHECKPOINT_SUFFIX } from "../../../src/models/tuned/lookup.ts";
import { staysHereMessage } from "../../../src/models/tuned/stays-local.ts";
import { endpointPrice } from "../../../src/serving/deployments/plan.ts";
import { isOwnFormat } from "../../../src/training/exports/model.ts";
import { formatsHere, listExports } from "../../../src/training/exports/service.ts";
import { pushView } from "../../../src/training/pushes/model.ts";
import { hubRefusal, listPushes } from "../../../src/training/pushes/service.ts";
import { Exports } from "./exports.tsx";
import { type PushesProps, PushList } from "./pushes.tsx";
import { TunedModelPage } from "./tuned.tsx";

/** Pushes on the page; the API has more. */
const SHOWN = 10;

/** @param refused the form of a push as it was sent, and the status of the answer */
export async function showTuned(
  ctx: Ctx,
  visit: { request: Request; actor: Actor; params: { id: string } },
  refused?: { form: NonNullable<PushesProps["form"]>; status: number },
): Promise<Response> {
  const { request, actor, params } = visit;
  const page = pageOf(ctx, request, actor);
  const gone = await restrictionOf(ctx, params.id.replace(CHECKPOINT_SUFFIX, ""));
  if (gone?.kind === "removed" && gone.org === actor.org && gone.caseId)
    return redirect(request, `/moderation/${gone.caseId}`);
  const lineage = await modelLineage(ctx, actor, params.id);
  const exports = await listExports(ctx, actor, params.id);
  const pushes: PushesProps = {
    model: lineage.model,
    whole: lineage.whole,
    exports,
    pushes: (await listPushes(ctx, actor, params.id)).slice(0, SHOWN).map(pushView),
    hub: {
      name: URL.parse(ctx.config.hub_url)?.host ?? "",
      refused: lineage.stays_local
        ? staysHereMessage(lineage.model)
        : ((hubRefusal(ctx) ?? (await betaRefusal(ctx, actor, "model_pushes")))?.message ?? null),
      hasToken: actor.role === "admin" && Boolean(ctx.config.hub_token),
    },
    license: (await describeBaseModel(ctx, actor, lineage.base_model.id)).license,
    form: refused?.form,
  };
  const formats = formatsHere().filter((format) => !isOwnFormat(lineage, format));
  return html(
    page,
    <TunedModelPage
      lineage={lineage}
      exports={exports}
      pushes={pushes}
      formats={formats}
      creator={lineage.job && (await creatorName(ctx, lineage.job.created_by))}
      baseUrl={ctx.config.public_url?.replace(/\/$/, "") ?? page.info.url.origin}
      price={lineage.method === "reward" ? null : await endpointPrice(ctx, actor, lineage.model)}
      barred={knownOfModel(ctx, actor.org, lineage.model)}
      isCheckpoint={CHECKPOINT_SUFFIX.test(params.id)}
    />,
    {
      status: refused?.status,
      fragments: {
        "push-list": () => <PushList {...pushes} />,
        exports: () => <Exports model={lineage.model} whole={lineage.whole} exports={exports} formats={formats} />,
      },
    },
  );
}
