/** What all rules find in the answers of a model. */
import type { Ctx } from "../ctx.ts";
import { excerptOf } from "../data/matching/excerpt.ts";
import { createMatcher } from "../data/matching/matcher.ts";
import { findingOf, judge, type Located, matchRulesOf } from "./apply.ts";
import type { Finding, RuleRow } from "./model.ts";

/** Applies every rule to every answer; up to `keep` findings of each rule. */
export async function applyToAnswers(
  ctx: Ctx,
  rules: readonly RuleRow[],
  answers: Located[],
  options: { keep: number; signal: AbortSignal },
): Promise<{ findings: Finding[]; flagged: number }> {
  const matcher = createMatcher(matchRulesOf(rules));
  const byRule = new Map<string, (ReturnType<typeof matcher>[number] & { at: Located })[]>();
  const { findings, flagged } = await judge(ctx, rules, answers, options);
  for (const at of answers)
    for (const match of matcher(at.text)) {
      byRule.set(match.rule, [...(byRule.get(match.rule) ?? []), { ...match, at }]);
      flagged.add(at);
    }
  const matched = rules.flatMap((rule) => {
    const found = byRule.get(rule.id) ?? [];
    return found.slice(0, options.keep).map(({ at, score, ...place }) => {
      const excerpt = excerptOf(at.text, place);
      return findingOf(rule, at, { score, count: found.length, excerpt });
    });
  });
  return { findings: [...matched, ...findings], flagged: flagged.size };
}
