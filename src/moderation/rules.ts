/** The settings and rules of moderation as administrators change them. */
import { and, asc, eq, inArray, isNull } from "drizzle-orm";
import { audit } from "../accounts/audit/service.ts";
import {
  forgetSettings,
  type ModerationSettings,
  moderationSettings,
  storeSettings,
} from "../accounts/restrictions/requests.ts";
import { forgetRestrictions } from "../accounts/restrictions/service.ts";
import { type Actor, type Ctx, requireAdmin } from "../ctx.ts";
import { compilePattern } from "../data/matching/matcher.ts";
import { moderationCheck, moderationRule, restriction } from "../db/schema/moderation.ts";
import type { Db } from "../db/types.ts";
import { AppError, notFound } from "../errors.ts";
import { checkGraderOn, compileTrainGrader } from "../graders/training.ts";
import { newId } from "../lib/ids.ts";
import { resolveChatModel } from "../models/tuned/service.ts";
import type { CreateRule, RuleRow, RuleSettings, UpdateRule } from "./model.ts";

const MAX_RULES = 500;
const KINDS = ["keywords", "pattern", "pii", "guard_model", "grader"] as const;

/** Changes the settings. Administrators only. */
export async function changeSettings(
  ctx: Ctx,
  actor: Actor,
  change: Partial<ModerationSettings>,
): Promise<ModerationSettings> {
  requireAdmin(actor);
  const before = await moderationSettings(ctx);
  const next = {
    enabled: change.enabled ?? before.enabled,
    second_reviewer: change.second_reviewer ?? before.second_reviewer,
  };
  const stored = ctx.write(async (tx) => {
    await storeSettings(tx, ctx, next);
    if (!next.enabled) await dropWaiting(tx);
    await audit(tx, ctx, actor, "moderation.settings", "moderation", { ...next });
  });
  await stored.finally(() => forgetSettings(ctx));
  await forgetRestrictions(ctx);
  return next;
}

/** Ends what waits for a check that will not be made; what reviewers decided stays. */
async function dropWaiting(tx: Db): Promise<void> {
  await tx.delete(moderationCheck).where(eq(moderationCheck.state, "waiting"));
  await tx.delete(restriction).where(and(inArray(restriction.kind, ["held", "checking"]), isNull(restriction.caseId)));
}

/** Every rule, oldest first. Administrators only. */
export async function listRules(ctx: Ctx, actor: Actor): Promise<RuleRow[]> {
  requireAdmin(actor);
  return ctx.db.select().from(moderationRule).orderBy(asc(moderationRule.createdAt)).limit(MAX_RULES);
}

/** @throws AppError `moderation_rule_not_found` */
export async function getRule(ctx: Ctx, actor: Actor, id: string): Promise<RuleRow> {
  requireAdmin(actor);
  const [row] = await ctx.db.select().from(moderationRule).where(eq(moderationRule.id, id)).limit(1);
  if (!row) throw notFound("moderation_rule", id);
  return row;
}

/**
 * What a request says about the kind of a rule; null when it says nothing.
 * @throws AppError `invalid_value`, `invalid_pattern`, and what a grader or model is refused with
 */
async function settingsOf(
  ctx: Ctx,
  actor: Actor,
  given: UpdateRule,
): Promise<{ kind: RuleRow["kind"]; settings: RuleSettings } | null> {
  const named = KINDS.filter((name) => given[name] !== undefined);
  if (named.length === 0) return null;
  if (named.length > 1)
    throw new AppError("invalid", "invalid_value", `A rule is one of ${KINDS.join(", ")}: give one of them.`, {
      param: named[1],
    });
  const { keywords, pattern, pii, guard_model, grader } = given;
  if (keywords) return { kind: "keywords", settings: { keywords } };
  if (pattern !== undefined) {
    compilePattern(pattern);
    return { kind: "pattern", settings: { pattern } };
  }
  if (pii) return { kind: "pii", settings: { pii: [...new Set(pii)] } };
  if (guard_model !== undefined) {
    await resolveChatModel(ctx, actor, guard_model).catch((error: unknown) => {
      throw error instanceof AppError ? error.withParam("guard_model", "invalid") : error;
    });
    return { kind: "guard", settings: { guard_model } };
  }
  if (!grader) return null;
  await checkGraderOn(ctx, actor, { ...grader }, {});
  await compileTrainGrader(ctx, actor, { ...grader });
  return { kind: "grader", settings: { grader } };
}

const fieldsOf = (given: UpdateRule) => ({
  name: given.name,
  category: given.category,
  threshold: given.threshold === undefined ? undefined : Math.round(given.threshold * 1e6),
  onDatasets: given.on_datasets,
  onModels: given.on_models,
  action: given.action,
  enabled: given.enabled,
});

/** Creates a rule. Administrators only. @throws AppError `invalid_value`, `invalid_pattern`, `too_many_rules` */
export async function createRule(ctx: Ctx, actor: Actor, given: CreateRule): Promise<RuleRow> {
  requireAdmin(actor);
  const what = await settingsOf(ctx, actor, given);
  if (!what)
    throw new AppError("invalid", "invalid_value", `A rule needs one of ${KINDS.join(", ")}.`, { param: "keywords" });
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    const rows = await tx.select({ id: moderationRule.id }).from(moderationRule).limit(MAX_RULES);
    if (rows.length >= MAX_RULES)
      throw new AppError("conflict", "too_many_rules", `There are ${MAX_RULES} rules. Delete one first.`);
    const row: RuleRow = {
      id: newId("moderationRule"),
      org: actor.org,
      version: 1,
      ...what,
      name: given.name,
      category: given.category,
      threshold: Math.round(given.threshold * 1e6),
      onDatasets: given.on_datasets,
      onModels: given.on_models,
      action: given.action,
      enabled: given.enabled,
      createdBy: actor.userId,
      createdAt: now,
      updatedAt: now,
    };
    await tx.insert(moderationRule).values(row);
    await audit(tx, ctx, actor, "moderation_rule.create", row.id, { ...given });
    return row;
  });
}

/** Changes a rule, which gets the next version number. Administrators only. */
export async function updateRule(ctx: Ctx, actor: Actor, id: string, given: UpdateRule): Promise<RuleRow> {
  const before = await getRule(ctx, actor, id);
  const what = await settingsOf(ctx, actor, given);
  const changes = Object.fromEntries(Object.entries(fieldsOf(given)).filter(([, value]) => value !== undefined));
  const next = { ...before, ...changes, ...what, version: before.version + 1, updatedAt: ctx.clock.now() };
  await ctx.write(async (tx) => {
    await tx.update(moderationRule).set(next).where(eq(moderationRule.id, id));
    await audit(tx, ctx, actor, "moderation_rule.update", id, { version: next.version, ...given });
  });
  return next;
}

/** Deletes a rule; cases keep its name. Administrators only. */
export async function deleteRule(ctx: Ctx, actor: Actor, id: string): Promise<void> {
  const row = await getRule(ctx, actor, id);
  await ctx.write(async (tx) => {
    await tx.delete(moderationRule).where(eq(moderationRule.id, id));
    await audit(tx, ctx, actor, "moderation_rule.delete", id, { name: row.name, version: row.version });
  });
}
