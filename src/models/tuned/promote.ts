/** Promotes a fine-tuned model to a base model: installs its merged files under a new id. */
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { localUnit } from "../../objects/local.ts";
import { beginInstall, idFromName, refuseTaken } from "../base/imports.ts";
import type { BaseModelView, ImportTunedRequest } from "../base/model.ts";
import { mergedArtifact } from "./lookup.ts";
import { resolveChatModel, resolveModel } from "./service.ts";
import { runStaysHere } from "./stays-local.ts";

/**
 * Promotes a full fine-tuned model, or the merged safetensors of an adapter, to a base model that everyone on this
 * installation may use. Administrators only. @throws AppError `model_not_found`, `not_whole`
 */
export async function importTuned(
  ctx: Ctx,
  actor: Actor,
  request: Omit<ImportTunedRequest, "source">,
): Promise<BaseModelView> {
  requireAdmin(actor);
  await resolveChatModel(ctx, actor, request.model);
  // What others share is not taken over.
  const found = await resolveModel(ctx, actor, request.model);
  const artifactId = found.whole ? found.adapter?.artifactId : await mergedArtifact(ctx, actor.org, found.id);
  if (!artifactId || !found.checkpointId)
    throw new AppError(
      "conflict",
      "not_whole",
      `${found.id.slice(0, 200)} is an adapter. Export it as merged safetensors first, on its page; those files become the base model.`,
      { param: "model" },
    );
  const id = request.id ?? idFromName(found.id.slice("ft:".length));
  await refuseTaken(ctx, id);
  const staysLocal = await runStaysHere(ctx.db, found.jobId);
  const row = {
    id,
    staysLocal,
    name: found.id,
    source: "tuned" as const,
    sourceRef: found.id,
    revision: found.checkpointId,
  };
  const origin = {
    kind: "directory" as const,
    directory: await localUnit(ctx, { folder: "artifacts", id: artifactId }),
    roots: [],
  };
  return beginInstall(ctx, actor, { ...row, license: found.base.license }, origin);
}
