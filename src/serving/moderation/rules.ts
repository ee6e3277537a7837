/** OpenAI's moderation endpoint: by lists of words, by a guard model, or by both. */
import * as v from "valibot";
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { randomChars } from "../../lib/ids.ts";
import { MODERATION_CATEGORIES, type ModerationCategory } from "../../lib/moderation.ts";
import { occursIn, wordsOf } from "../../lib/text/phrases.ts";
import { askGuard, GUARDED } from "./guard.ts";

const MAX_INPUTS = 1000;
const MAX_TEXT = 500_000;
const MODEL = "rules";
/** Models that OpenAI's clients name by default. */
const MODELS = [
  MODEL,
  ...(["omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest"] as const),
  "text-moderation-stable",
];

const Text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
const Part = v.strictObject({ type: v.literal("text", "can only be text"), text: Text });

export const ModerationRequest = v.strictObject({
  /** A text, texts with a result each, or parts of one text. */
  input: v.lazy((given) => {
    if (given === undefined) return v.union([Text, v.array(Text), v.array(Part)]);
    if (!Array.isArray(given)) return Text;
    const list = typeof given[0] === "string" ? v.array(Text) : v.array(Part);
    return v.pipe(list as v.GenericSchema<unknown[]>, v.minLength(1), v.maxLength(MAX_INPUTS));
  }),
  model: v.optional(v.picklist(MODELS, `must be one of ${MODELS.join(", ")}`)),
});
export type ModerationRequest = v.InferOutput<typeof ModerationRequest>;

const ofCategories = <T extends v.GenericSchema>(value: T) =>
  v.strictObject(
    Object.fromEntries(MODERATION_CATEGORIES.map((name) => [name, value])) as Record<ModerationCategory, T>,
  );

export const ModerationView = v.strictObject({
  id: v.string(),
  model: v.string(),
  results: v.array(
    v.strictObject({
      flagged: v.boolean(),
      categories: ofCategories(v.boolean()),
      category_scores: ofCategories(v.number()),
      category_applied_input_types: ofCategories(v.array(v.literal("text"))),
    }),
  ),
});
type ModerationView = v.InferOutput<typeof ModerationView>;

const each = <T>(value: (category: ModerationCategory) => T) =>
  Object.fromEntries(MODERATION_CATEGORIES.map((name) => [name, value(name)])) as Record<ModerationCategory, T>;

/**
 * Classifies texts: a category is flagged, with the score 1, when one of its words or phrases occurs or the guard model
 * names it. Any other score is 0.
 * @throws AppError `moderation_not_configured` when the installation has neither words nor a guard model
 */
export async function moderate(
  ctx: Ctx,
  actor: Actor,
  request: ModerationRequest,
  signal: AbortSignal,
): Promise<ModerationView> {
  const { moderation_rules: rules, moderation_model: guard } = ctx.config;
  const categories = Object.keys(rules) as ModerationCategory[];
  if (categories.length === 0 && guard === undefined)
    throw new AppError(
      "invalid",
      "moderation_not_configured",
      "This installation has no moderation rules. An administrator sets moderation_rules, the words of each category, or moderation_model, a guard model.",
    );
  const { input } = request;
  const list = Array.isArray(input) ? input : [input];
  const isParts = list.some((one) => typeof one === "object");
  const texts = isParts ? [(list as { text: string }[]).map(({ text }) => text).join("\n")] : (list as string[]);
  const phrases = new Map(categories.map((name) => [name, (rules[name] ?? []).map(wordsOf)]));
  const results: ModerationView["results"] = [];
  for (const text of texts) {
    const words = wordsOf(text);
    const verdict = guard === undefined ? null : await askGuard(ctx, actor, guard, text, signal);
    const found = each(
      (name) =>
        verdict?.categories.has(name) || (phrases.get(name)?.some((phrase) => occursIn(words, phrase)) ?? false),
    );
    results.push({
      flagged: verdict?.flagged || Object.values(found).includes(true),
      categories: found,
      category_scores: each((name) => (found[name] ? 1 : 0)),
      category_applied_input_types: each((name) =>
        phrases.has(name) || (verdict && GUARDED.has(name)) ? ["text" as const] : [],
      ),
    });
  }
  return { id: `modr-${randomChars(20)}`, model: guard ?? MODEL, results };
}
