/** Recognizes columns that say whether an answer is good or bad, and which of their values mean what. */
import type { Column } from "./columns.ts";
import type { Mapping } from "./model.ts";
import { words } from "./words.ts";

const GOOD = new Set(
  words(`
      1 true yes y good up upvote upvoted thumbs_up thumbsup thumbs-up thumbs_up 👍 positive pos like
      liked desirable accept accepted correct right chosen helpful +1 win pass approved
    `),
);
const BAD = new Set(
  words(`
      0 -1 false no n bad down downvote downvoted thumbs_down thumbsdown thumbs-down thumbs_down 👎
      negative neg dislike disliked undesirable reject rejected incorrect wrong unhelpful loss fail
      denied
    `),
);

const is = (names: Set<string>) => (value: string) => names.has(value.trim().toLowerCase().replaceAll(" ", "_"));

/** The values that mean good and bad, or null when the column says something else, such as a class. */
export function goodAndBad({ values }: Column): Pick<Mapping, "good" | "bad"> | null {
  if (!values || values.length === 0) return null;
  const good = values.filter(is(GOOD));
  const bad = values.filter(is(BAD));
  if (good.length + bad.length === values.length) return { good, bad };
  const numbers = values.map(Number);
  if (numbers.some((number) => !Number.isFinite(number)) || values.length < 3) return null;
  const middle = (Math.max(...numbers) + Math.min(...numbers)) / 2;
  return {
    good: values.filter((value) => Number(value) > middle).sort(),
    bad: values.filter((value) => Number(value) <= middle).sort(),
  };
}

/** True when all values are true or false, also as text. */
export const isBoolean = ({ kind, values }: Column): boolean =>
  kind === "boolean" || (values?.every((value) => /^(true|false)$/i.test(value.trim())) ?? false);
