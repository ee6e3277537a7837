/**
 * Counts the tokens that a request probably uses before they are known: requests at the same time cannot each spend
 * what is left of a key's tokens a minute. The answer's own count replaces it.
 */
import { countsTokens, take } from "../../accounts/keys/rates.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import type { CompletionRequest } from "./request.ts";

/** Characters of one token, about, in English. */
const CHARACTERS = 4;
/** What the model reads, by its field in the body. */
const READ = ["messages", "prompt", "input", "tools"] as const;
const LONGEST = ["max_completion_tokens", "max_tokens"] as const;

/** Characters of all texts in a value; an image or sound in the text of an address is none. */
function charactersIn(value: unknown): number {
  if (typeof value === "string") return value.startsWith("data:") ? 0 : value.length;
  if (Array.isArray(value)) return value.reduce<number>((sum, each) => sum + charactersIn(each), 0);
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce<number>((sum, each) => sum + charactersIn(each), 0);
}

/** @returns how many tokens were counted; 0 for an actor whose tokens are not */
export function reserveTokens(ctx: Ctx, actor: Actor, { body }: CompletionRequest): number {
  if (!countsTokens(actor)) return 0;
  const read = READ.reduce((sum, field) => sum + charactersIn(body[field]), 0);
  const asked = LONGEST.map((field) => body[field]).find((value): value is number => Number.isSafeInteger(value));
  const tokens = Math.ceil(read / CHARACTERS) + Math.max(0, asked ?? 0);
  take(ctx, actor, "tokens", ctx.clock.monotonic(), tokens);
  return tokens;
}
