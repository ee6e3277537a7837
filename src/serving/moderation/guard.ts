/** Classifies texts with a served guard model of the Llama Guard family: its chat template asks for the categories. */
import type { Actor, Ctx } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import type { ModerationCategory } from "../../lib/moderation.ts";
import { sendAs } from "../gateway/ask.ts";

/** Longest verdict in tokens: `unsafe` and a list of categories. */
const MAX_TOKENS = 40;

/**
 * OpenAI's categories for those of Llama Guard 3. It has others (advice, privacy, intellectual property, elections),
 * for which OpenAI has none: they flag a text without a category.
 */
const CATEGORIES: Record<string, ModerationCategory[]> = {
  S1: ["violence", "illicit/violent"],
  S2: ["illicit"],
  S3: ["sexual"],
  S4: ["sexual/minors"],
  S5: ["harassment"],
  S9: ["illicit/violent"],
  S10: ["hate"],
  S11: ["self-harm"],
  S12: ["sexual"],
  S14: ["illicit"],
};

/** Every category that a guard model can flag. */
export const GUARDED: ReadonlySet<ModerationCategory> = new Set(Object.values(CATEGORIES).flat());

interface Verdict {
  flagged: boolean;
  categories: Set<ModerationCategory>;
}

/** Reads `safe`, or `unsafe` and a line of categories; null for anything else. */
function verdictOf(text: string): Verdict | null {
  const lines = text.split("\n").map((line) => line.trim());
  const [word = "", list = ""] = lines.filter((line) => line !== "");
  if (word === "safe") return { flagged: false, categories: new Set() };
  if (word !== "unsafe") return null;
  const names = list.split(",").map((name) => name.trim());
  return {
    flagged: true,
    categories: new Set(names.flatMap((name) => (Object.hasOwn(CATEGORIES, name) ? (CATEGORIES[name] ?? []) : []))),
  };
}

/**
 * Asks the guard model about a text. Limits and usage rows of `actor` apply, but not the models of their key: the
 * installation chooses this one.
 * @throws AppError as completions do; `moderation_failed` when the answer is not a verdict
 */
export async function askGuard(
  ctx: Ctx,
  actor: Actor,
  model: string,
  text: string,
  signal: AbortSignal,
): Promise<Verdict> {
  const messages = [{ role: "user", content: text }];
  const body = { model, messages, max_tokens: MAX_TOKENS, temperature: 0 };
  const asker = { ...actor, limits: actor.limits?.map((limit) => ({ ...limit, models: null })) };
  const reply = await sendAs(ctx, asker, "chat/completions", body, { signal });
  const answer = (await reply.json()) as {
    error?: { message?: string };
    choices?: { message?: { content?: string | null } }[];
  };
  if (!reply.ok)
    throw new AppError("unavailable", "moderation_failed", answer.error?.message ?? "The guard model did not answer.");
  const verdict = verdictOf(answer.choices?.[0]?.message?.content ?? "");
  if (!verdict)
    throw new AppError(
      "unavailable",
      "moderation_failed",
      "The guard model gave no verdict. An administrator sets moderation_model: a model that answers as Llama Guard does.",
    );
  return verdict;
}
