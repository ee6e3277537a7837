/** Reports of people about models and endpoints: they reach the queue of the reviewers, who alone see who reported. */
import { and, count, desc, eq, gt, ne } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import { moderationSettings } from "../accounts/restrictions/requests.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { model } from "../db/schema/models.ts";
import { moderationCase, moderationEntry } from "../db/schema/moderation.ts";
import { AppError } from "../errors.ts";
import { resolveModel } from "../models/tuned/service.ts";
import { getDeployment } from "../serving/deployments/service.ts";
import { addEntry, insertCase } from "./cases.ts";
import type { CaseRow, CreateReport } from "./model.ts";

const HOUR_MS = 3_600_000;
/** Reports of one person in an hour. */
const MAX_REPORTS = 10;

type About = Pick<CaseRow, "org" | "object" | "subject" | "datasetId" | "name" | "hash" | "ownerId">;

/** What is reported, as a case names it. @throws AppError `model_not_found`, `deployment_not_found` */
async function aboutOf(ctx: Ctx, actor: Actor, { type, id }: Pick<CreateReport, "type" | "id">): Promise<About> {
  if (!(await moderationSettings(ctx)).enabled)
    throw new AppError("conflict", "moderation_off", "This installation takes no reports: moderation is switched off.");
  const none = { datasetId: null, hash: null };
  if (type === "deployment") {
    const found = await getDeployment(ctx, actor, id);
    const { model: subject, name, created_by: ownerId } = found;
    return { ...none, org: actor.org, object: "deployment", subject, name, ownerId };
  }
  const found = await resolveModel(ctx, actor, id, true);
  if (found.org === null)
    throw new AppError(
      "invalid",
      "not_reportable",
      "Base models belong to the installation. Report the endpoint that serves it, or ask an administrator.",
      { param: "id" },
    );
  const [row] = await ctx.db
    .select({ name: model.name, createdBy: model.createdBy })
    .from(model)
    .where(eq(model.jobId, found.jobId ?? ""))
    .limit(1);
  const name = row?.name ?? found.id;
  return { ...none, org: found.org, object: "model", subject: found.id, name, ownerId: row?.createdBy ?? "" };
}

/** The name of what is reported. @throws AppError `moderation_off`, `model_not_found`, `deployment_not_found` */
export async function nameOfReported(ctx: Ctx, actor: Actor, of: Pick<CreateReport, "type" | "id">): Promise<string> {
  return (await aboutOf(ctx, actor, of)).name;
}

/** @throws AppError `too_many_reports` (429) */
async function throttle(ctx: Ctx, actor: Actor): Promise<void> {
  const since = ctx.clock.now() - HOUR_MS;
  const [found] = await ctx.db
    .select({ n: count() })
    .from(moderationEntry)
    .where(
      and(
        eq(moderationEntry.userId, actor.userId),
        eq(moderationEntry.kind, "report"),
        gt(moderationEntry.createdAt, since),
      ),
    );
  if ((found?.n ?? 0) < MAX_REPORTS) return;
  throw new AppError("rate_limited", "too_many_reports", `You can report ${MAX_REPORTS} times in an hour.`, {
    retryAfterS: HOUR_MS / 1000,
  });
}

/**
 * Reports a model or an endpoint. A second report about the same thing joins its open case.
 * @returns the id of the report
 * @throws AppError `moderation_off`, `too_many_reports`, `not_reportable`, `model_not_found`, `deployment_not_found`
 */
export async function report(ctx: Ctx, actor: Actor, given: CreateReport): Promise<string> {
  const about = await aboutOf(ctx, actor, given);
  await throttle(ctx, actor);
  const id = await ctx.write(async (tx) => {
    const [open] = await tx
      .select()
      .from(moderationCase)
      .where(
        and(
          eq(moderationCase.org, about.org),
          eq(moderationCase.object, about.object),
          eq(moderationCase.subject, about.subject),
          ne(moderationCase.state, "decided"),
        ),
      )
      .orderBy(desc(moderationCase.createdAt))
      .limit(1);
    const none = { findings: [], flagged: 0, categories: [given.category] };
    const row = open ?? (await insertCase(tx, ctx, { ...about, source: "report", ...none }));
    if (!row.categories.includes(given.category))
      await tx
        .update(moderationCase)
        .set({ categories: [...row.categories, given.category] })
        .where(eq(moderationCase.id, row.id));
    // In the log of the reporter's organization: the reported one must not learn who it was.
    await audit(tx, ctx, actor, "moderation_case.report", row.id, { subject: about.subject, category: given.category });
    return addEntry(tx, ctx, actor, { caseId: row.id, kind: "report", value: given.category, text: given.text });
  });
  ctx.bus.emit("moderation.changed", { org: about.org });
  return id;
}
