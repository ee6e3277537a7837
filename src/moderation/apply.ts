/** Applies rules to texts: words and patterns here, guard models and graders by asking them. */
import { and, asc, eq } from "drizzle-orm";
import { type Ctx, systemActor } from "../ctx.ts";
import { excerptOf } from "../data/matching/excerpt.ts";
import type { MatchRule } from "../data/matching/matcher.ts";
import { moderationRule } from "../db/schema/moderation.ts";
import { AppError } from "../errors.ts";
import type { Grader } from "../graders/model.ts";
import { createGrading } from "../graders/training.ts";
import { askModel } from "../serving/gateway/ask.ts";
import { askGuard } from "../serving/moderation/guard.ts";
import type { Finding, RuleRow, RuleSettings } from "./model.ts";

/** Longest text that a model judges, in characters. */
const MAX_JUDGED = 20_000;
/** Samples of one grader at once. */
const PIECE = 16;

/** The enabled rules that look at dataset versions or at models. */
export function rulesFor(ctx: Ctx, what: "datasets" | "models"): Promise<RuleRow[]> {
  const looks = what === "datasets" ? moderationRule.onDatasets : moderationRule.onModels;
  return ctx.db
    .select()
    .from(moderationRule)
    .where(and(eq(moderationRule.enabled, true), eq(looks, true)))
    .orderBy(asc(moderationRule.createdAt));
}

/** The rules that a matcher applies. */
export function matchRulesOf(rules: readonly RuleRow[]): MatchRule[] {
  return rules.flatMap((row): MatchRule[] => {
    const settings = row.settings as RuleSettings;
    if ("keywords" in settings) return [{ rule: row.id, kind: "keywords", words: settings.keywords }];
    if ("pattern" in settings) return [{ rule: row.id, kind: "pattern", pattern: settings.pattern }];
    if ("pii" in settings) return [{ rule: row.id, kind: "pii", kinds: settings.pii, threshold: row.threshold / 1e6 }];
    return [];
  });
}

/** The rules that ask a model or run Python for every text. */
export const askingRules = (rules: readonly RuleRow[]): RuleRow[] =>
  rules.filter(({ kind }) => kind === "guard" || kind === "grader");

/** A text with the place where it is. */
export interface Located {
  text: string;
  split: string | null;
  row: number | null;
  part: string;
  prompt: string | null;
}

/** A match of a rule as a case shows it. */
export function findingOf(
  rule: RuleRow,
  at: Omit<Located, "text">,
  match: Pick<Finding, "score" | "count" | "excerpt">,
): Finding {
  return {
    rule: rule.id,
    rule_name: rule.name,
    rule_version: rule.version,
    category: rule.category,
    score: match.score,
    count: match.count,
    split: at.split,
    row: at.row,
    part: at.part,
    prompt: at.prompt,
    excerpt: match.excerpt,
  };
}

/** The scores of a guard model: 1 for what it calls unsafe. */
async function guardScores(ctx: Ctx, rule: RuleRow, model: string, texts: Located[], signal: AbortSignal) {
  const actor = { ...systemActor(rule.org), userId: rule.createdBy };
  const scores: number[] = [];
  for (const { text } of texts)
    scores.push((await askGuard(ctx, actor, model, text.slice(0, MAX_JUDGED), signal)).flagged ? 1 : 0);
  return scores;
}

/** The rewards of a grader. @throws AppError `moderation_failed` when a grader does not give one */
async function graderScores(ctx: Ctx, rule: RuleRow, grader: Grader, texts: Located[], signal: AbortSignal) {
  const grading = createGrading(ctx, askModel(ctx));
  const actor = { ...systemActor(rule.org), userId: rule.createdBy };
  const scores: number[] = [];
  for (let at = 0; at < texts.length; at += PIECE) {
    const samples = texts
      .slice(at, at + PIECE)
      .map(({ text, prompt }) => ({ item: { prompt: prompt ?? "" }, output: text.slice(0, MAX_JUDGED) }));
    for (const { reward, error } of await grading(actor, { ...grader }, samples, signal)) {
      if (error !== null) throw new AppError("unavailable", "moderation_failed", `The grader failed: ${error}`);
      scores.push(reward);
    }
  }
  return scores;
}

/**
 * What guard models and graders flag in texts; one finding for each flagged text, up to `keep` of each rule.
 * @throws AppError when one of them does not answer
 */
export async function judge(
  ctx: Ctx,
  rules: readonly RuleRow[],
  texts: Located[],
  { keep, signal }: { keep: number; signal: AbortSignal },
): Promise<{ findings: Finding[]; flagged: Set<Located> }> {
  const findings: Finding[] = [];
  const flagged = new Set<Located>();
  for (const rule of askingRules(rules)) {
    const settings = rule.settings as RuleSettings;
    const scores =
      "guard_model" in settings
        ? await guardScores(ctx, rule, settings.guard_model, texts, signal)
        : "grader" in settings
          ? await graderScores(ctx, rule, settings.grader, texts, signal)
          : [];
    const over = texts.flatMap((text, n) => {
      const score = scores[n] ?? 0;
      return score * 1e6 >= rule.threshold ? [{ text, score }] : [];
    });
    for (const [n, { text, score }] of over.entries()) {
      flagged.add(text);
      const excerpt = excerptOf(text.text, { start: 0, end: text.text.length });
      if (n < keep) findings.push(findingOf(rule, text, { score, count: over.length, excerpt }));
    }
  }
  return { findings, flagged };
}
