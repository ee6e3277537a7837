/**
 * Looks for words, patterns and personal data in a text. Patterns are RE2's: their time is linear in the text, so that
 * nobody's pattern and nobody's text can stop the server.
 */
import { RE2JS } from "re2js";
import { AppError } from "../../errors.ts";
import { occursIn, placeOf, wordsOf } from "../../lib/text/phrases.ts";
import { findPii } from "../pii/detectors.ts";
import type { PiiKind } from "../pii/kinds.ts";
import { masked } from "../pii/mask.ts";

/** What a text is compared with. `rule` is the id that a match names. */
export type MatchRule =
  | { rule: string; kind: "keywords"; words: string[] }
  | { rule: string; kind: "pattern"; pattern: string }
  | { rule: string; kind: "pii"; kinds: PiiKind[]; threshold: number };

/** Where a rule matched, in UTF-16 units. */
interface Match {
  rule: string;
  start: number;
  end: number;
  /** 0 to 1. */
  score: number;
  /** In place of what matched, where that is personal data. */
  shown?: string;
}

/** Finds the first match of each rule. */
type Matcher = (text: string) => Match[];

/** @throws AppError `invalid_pattern` for a pattern that RE2 does not read */
export function compilePattern(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "it cannot be read";
    throw new AppError(
      "invalid",
      "invalid_pattern",
      `The pattern is not a regular expression of RE2: ${why}. RE2 has no backreferences and no look-around.`,
      { param: "pattern", cause },
    );
  }
}

/** Compiles rules once for many texts. @throws AppError `invalid_pattern` */
export function createMatcher(rules: readonly MatchRule[]): Matcher {
  const phrases = rules.flatMap((rule) =>
    rule.kind === "keywords" ? [{ rule: rule.rule, phrases: rule.words.map(wordsOf) }] : [],
  );
  const patterns = rules.flatMap((rule) =>
    rule.kind === "pattern" ? [{ rule: rule.rule, pattern: compilePattern(rule.pattern) }] : [],
  );
  const personal = rules.flatMap((rule) => (rule.kind === "pii" ? [{ ...rule, kinds: new Set(rule.kinds) }] : []));
  return (text) => {
    const found: Match[] = [];
    if (phrases.length > 0) {
      const words = wordsOf(text);
      for (const one of phrases) {
        const phrase = one.phrases.find((each) => occursIn(words, each));
        if (phrase !== undefined) found.push({ rule: one.rule, ...placeOf(text, phrase), score: 1 });
      }
    }
    for (const { rule, pattern } of patterns) {
      const matcher = pattern.matcher(text);
      if (matcher.find()) found.push({ rule, start: matcher.start(), end: matcher.end(), score: 1 });
    }
    const data = personal.length > 0 ? findPii(text) : [];
    for (const { rule, kinds, threshold } of personal) {
      const first = data.find(({ kind, confidence }) => kinds.has(kind) && confidence >= threshold);
      if (!first) continue;
      const { kind, start, end, confidence } = first;
      found.push({ rule, start, end, score: confidence, shown: masked(kind, text.slice(start, end)) });
    }
    return found;
  };
}
