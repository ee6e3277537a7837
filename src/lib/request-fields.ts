/** Fields that many requests share, refusals of unknown ones, and timestamps as answers have them. */
import * as v from "valibot";
import { AppError } from "../errors.ts";

/** Unix seconds of a time in milliseconds; null stays null. */
export function seconds(ms: number): number;
export function seconds(ms: number | null): number | null;
export function seconds(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms / 1000);
}

/** A whole number of a query or a form, where numbers are text. */
export const whole = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,15}$/, "must be a whole number"), v.transform(Number))]),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
  );

export const id = v.pipe(v.string(), v.maxLength(100));

export const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

interface KeyIssue {
  expected?: string | null;
  path?: { key?: unknown; origin?: string }[];
}

/**
 * The refusal of a field that a strict object does not list, or null for another issue.
 * @param param the field's dotted path
 */
export function unknownParameter(issue: KeyIssue, param: string | null): AppError | null {
  if (!param || issue.path?.at(-1)?.origin !== "key" || issue.expected !== "never") return null;
  return new AppError("invalid", "unknown_parameter", `Unknown parameter: '${param}'.`, { param });
}

/** The issue of an unknown field, for schemas that check their keys by themselves. */
export function unknownKey(input: Record<string, unknown>, key: string) {
  const path: [v.ObjectPathItem] = [{ type: "object", origin: "key", input, key, value: input[key] }];
  return { message: "is not a field", expected: "never", path };
}

/**
 * One of several objects. A field that no option lists is refused by its name, before the options are compared. When
 * only one option has all given fields, its own issue is reported.
 * @param message what to give, when no option matches
 */
export function eitherOf<const O extends v.StrictObjectSchema<v.ObjectEntries, undefined>[]>(
  options: O,
  message: string,
) {
  const known = new Set(options.flatMap((option) => Object.keys(option.entries)));
  return v.pipe(
    v.looseObject({}),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const { value: input } = dataset;
      const key = Object.keys(input).find((name) => !known.has(name));
      if (key !== undefined) return addIssue(unknownKey(input, key));
      const fitting = options.filter((option) => Object.keys(input).every((name) => name in option.entries));
      if (fitting.length !== 1 || !fitting[0]) return;
      const found = v.safeParse(fitting[0], input);
      if (found.success) return;
      const { message, expected, received, path } = found.issues[0];
      addIssue({ message, received, path, ...(expected ? { expected } : {}) });
    }),
    v.union(options, message),
  );
}
