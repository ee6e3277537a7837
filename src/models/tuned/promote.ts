/** Promotes a fine-tuned model to a base model: its merged files are installed under a name of their own. */
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { beginInstall, freeId, refuseTaken } from "../base/imports.ts";
import type { BaseModelView, ImportTunedRequest } from "../base/model.ts";
import { mergedArtifact } from "./lookup.ts";
import { artifactDir, resolveChatModel } from "./service.ts";

/**
 * Makes a tuned model a base model, which everyone on this installation may then use: one that was trained whole, or
 * the merged safetensors of an adapter. Administrators only. @throws AppError `model_not_found`, `not_whole`
 */
export async function importTuned(
  ctx: Ctx,
  actor: Actor,
  request: Omit<ImportTunedRequest, "source">,
): Promise<BaseModelView> {
  requireAdmin(actor);
  const found = await resolveChatModel(ctx, actor, request.model);
  const artifactId = found.whole ? found.adapter?.artifactId : await mergedArtifact(ctx, actor.org, found.id);
  if (!artifactId || !found.checkpointId)
    throw new AppError(
      "conflict",
      "not_whole",
      `${found.id.slice(0, 200)} is an adapter. Export it as merged safetensors on its page first; those files become the base model.`,
      { param: "model" },
    );
  const id = request.id ?? freeId(found.id.slice("ft:".length));
  await refuseTaken(ctx, id);
  const row = { id, name: found.id, source: "tuned" as const, sourceRef: found.id, revision: found.checkpointId };
  const origin = { kind: "directory" as const, directory: artifactDir(ctx, artifactId), roots: [] };
  return beginInstall(ctx, actor, { ...row, license: found.base.license }, origin);
}
