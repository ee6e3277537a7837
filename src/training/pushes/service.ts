/** Pushes a fine-tuned model to a hub: creates, lists and cancels pushes. */

import { and, desc, eq, inArray } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { artifact } from "../../db/schema/models.ts";
import { hubPush } from "../../db/schema/pushes.ts";
import { sealedIn } from "../../db/sealed-columns.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { newId } from "../../lib/ids.ts";
import { seal } from "../../lib/sealed.ts";
import { CHECKPOINT_SUFFIX } from "../../models/tuned/lookup.ts";
import { resolveModel, resolveUsableModel } from "../../models/tuned/service.ts";
import { runStaysHere, staysHereMessage } from "../../models/tuned/stays-local.ts";
import { requireOwner } from "../../roles.ts";
import type { Format } from "../exports/model.ts";
import { listExports } from "../exports/service.ts";
import type { CreatePush, PushRow } from "./model.ts";
import { announcePush, pushQueue, updatePush } from "./run.ts";

/** Unfinished pushes of one organization. */
const MOST_OPEN = 20;
const MAX_LIST = 50;

/** Why this installation pushes to no hub, as an error; null when it does. */
export function hubRefusal(ctx: Ctx): AppError | null {
  const { offline, hub_url } = ctx.config;
  if (offline)
    return new AppError(
      "unavailable",
      "offline",
      "This installation makes no connections to other servers (offline). Download the files instead.",
    );
  if (hub_url === "")
    return new AppError(
      "unavailable",
      "hub_disabled",
      "This installation does not use a hub (hub_url is none). Download the files instead.",
    );
  return null;
}

/** The artifact to push. @throws AppError `not_tuned`, `model_stays_local`, `export_not_finished` */
async function artifactFor(ctx: Ctx, actor: Actor, name: string, format: Format | null) {
  const found = await resolveUsableModel(ctx, actor, name);
  if (!found.adapter || !found.jobId)
    throw new AppError("invalid", "not_tuned", "Only fine-tuned models can be pushed.", { param: "model" });
  if (await runStaysHere(ctx.db, found.jobId))
    throw new AppError("forbidden", "model_stays_local", staysHereMessage(found.id), { param: "model" });
  if (format) {
    const made = (await listExports(ctx, actor, found.id)).find((one) => one.format === format && one.artifact_id);
    if (made?.artifact_id) return { model: found.id, artifactId: made.artifact_id };
    throw new AppError(
      "conflict",
      "export_not_finished",
      `${found.id} has no finished export as ${format}. Create it, and push when it has succeeded.`,
      { param: "format" },
    );
  }
  if (CHECKPOINT_SUFFIX.test(found.id)) return { model: found.id, artifactId: found.adapter.artifactId };
  // The files of the result, without those that only a training needs.
  const [result] = await ctx.db
    .select({ id: artifact.id })
    .from(artifact)
    .where(
      and(
        eq(artifact.jobId, found.jobId),
        inArray(artifact.kind, ["adapter", "model"]),
        eq(artifact.status, "complete"),
      ),
    )
    .orderBy(desc(artifact.step))
    .limit(1);
  return { model: found.id, artifactId: result?.id ?? found.adapter.artifactId };
}

/** The token of a request, sealed; null stands for that of the installation. @throws AppError `token_needed` */
function sealedToken(ctx: Ctx, actor: Actor, id: string, token: string | null | undefined): string | null {
  if (token) return seal(ctx.secret, sealedIn("push", id), token);
  if (actor.role === "admin" && ctx.config.hub_token) return null;
  throw new AppError("invalid", "token_needed", "Enter an access token of the hub with write access.", {
    param: "token",
  });
}

/** @throws AppError `too_many_pushes`, `push_running` */
async function requireTurn(tx: Db, row: PushRow): Promise<void> {
  const open = await tx
    .select({ id: hubPush.id, repo: hubPush.repo, branch: hubPush.branch })
    .from(hubPush)
    .where(and(eq(hubPush.org, row.org), inArray(hubPush.status, ["waiting", "running"])))
    .limit(MOST_OPEN);
  const same = open.find(({ repo, branch }) => repo.toLowerCase() === row.repo.toLowerCase() && branch === row.branch);
  if (same)
    throw new AppError(
      "conflict",
      "push_running",
      `A push to ${row.repo} (${row.branch}) is running: ${same.id}. Wait until it ends, or cancel it.`,
      { param: "repository" },
    );
  if (open.length >= MOST_OPEN)
    throw new AppError("rate_limited", "too_many_pushes", `${MOST_OPEN} pushes are open. Wait until some end.`);
}

/**
 * Creates a push and starts it in the background.
 * @throws AppError `offline`, `hub_disabled`, `model_not_found`, `not_tuned`, `export_not_finished`, `token_needed`,
 *   `push_running`, `too_many_pushes`
 */
export async function createPush(ctx: Ctx, actor: Actor, name: string, given: CreatePush): Promise<PushRow> {
  const refused = hubRefusal(ctx);
  if (refused) throw refused;
  const format = given.format ?? null;
  const { model, artifactId } = await artifactFor(ctx, actor, name, format);
  const id = newId("push");
  const row: PushRow = {
    id,
    org: actor.org,
    model,
    format,
    artifactId,
    hub: ctx.config.hub_url,
    repo: given.repository,
    branch: given.branch || "main",
    private: given.private,
    message: given.message || `Upload ${model}`.slice(0, 200),
    secret: sealedToken(ctx, actor, id, given.token),
    ownToken: Boolean(given.token),
    status: "waiting",
    phase: null,
    bytesTotal: null,
    bytesDone: 0,
    commit: null,
    error: null,
    createdBy: actor.userId,
    createdAt: ctx.clock.now(),
    finishedAt: null,
  };
  const { repo, branch, private: isPrivate, hub } = row;
  await ctx.write(async (tx) => {
    await requireTurn(tx, row);
    await tx.insert(hubPush).values(row);
    const detail = { model, format, hub, repository: repo, branch, private: isPrivate };
    await audit(tx, ctx, actor, "model.push", row.id, detail);
  });
  announcePush(ctx, row);
  pushQueue(ctx).kick();
  return row;
}

/** One push of `actor`'s organization. @throws AppError `push_not_found` */
export async function getPush(ctx: Ctx, actor: Actor, id: string): Promise<PushRow> {
  const [row] = await ctx.db
    .select()
    .from(hubPush)
    .where(and(eq(hubPush.id, id), eq(hubPush.org, actor.org)));
  if (!row) throw notFound("push", id);
  return row;
}

/** The pushes of a fine-tuned model, newest first, at most 50. @throws AppError `model_not_found` */
export async function listPushes(ctx: Ctx, actor: Actor, model: string): Promise<PushRow[]> {
  const { id } = await resolveModel(ctx, actor, model);
  return ctx.db
    .select()
    .from(hubPush)
    .where(and(eq(hubPush.org, actor.org), eq(hubPush.model, id)))
    .orderBy(desc(hubPush.createdAt), desc(hubPush.id))
    .limit(MAX_LIST);
}

/** Cancels an unfinished push. @throws AppError `push_not_found`, `push_ended` */
export async function cancelPush(ctx: Ctx, actor: Actor, id: string): Promise<PushRow> {
  const row = await getPush(ctx, actor, id);
  requireOwner(actor, row.createdBy);
  const canceled = { status: "canceled" as const, secret: null, finishedAt: ctx.clock.now() };
  await ctx.write(async (tx) => {
    if (!(await updatePush(tx, row, canceled)))
      throw new AppError("conflict", "push_ended", `The push ${id} has ended already.`);
    await audit(tx, ctx, actor, "model.push.cancel", id, { repository: row.repo });
  });
  pushQueue(ctx).stop(id);
  announcePush(ctx, row);
  return getPush(ctx, actor, id);
}
