/** Filters and pages of SCIM lists (RFC 7644, 3.4.2): `attribute eq "value"`, as providers ask before they create. */
import { AppError } from "../../errors.ts";

const MAX_FILTER = 1000;
const MAX_COUNT = 200;
/** `userName eq "a"`; a value is a JSON text. */
const CLAUSE = /^\s*([A-Za-z][\w.:[\]" ]{0,100}?)\s+eq\s+("(?:[^"\\]|\\.){0,500}")\s*$/i;
/** Other names of an attribute. */
const SAME: Record<string, string> = {
  "emails.value": "email",
  emails: "email",
  'emails[type eq "work"].value': "email",
};

/** One condition: the attribute must equal the value. */
export interface Filter {
  attribute: string;
  value: string;
}

const invalid = (allowed: readonly string[]) =>
  new AppError(
    "invalid",
    "invalid_filter",
    `Filters have the form ${allowed.map((name) => `${name} eq "…"`).join(", ")}.`,
  );

/**
 * Reads a filter.
 * @param allowed attributes that this list knows
 * @returns null without a filter
 * @throws AppError `invalid_filter`
 */
export function readFilter(filter: string | undefined, allowed: readonly string[]): Filter | null {
  if (!filter) return null;
  const match = filter.length <= MAX_FILTER ? CLAUSE.exec(filter) : null;
  const named = match?.[1]?.replace(/^urn:ietf:params:scim:schemas:core:2\.0:(User|Group):/i, "") ?? "";
  const name = SAME[named] ?? named;
  const attribute = allowed.find((each) => each.toLowerCase() === name.toLowerCase());
  if (!match || !attribute) throw invalid(allowed);
  try {
    return { attribute, value: String(JSON.parse(match[2] ?? "")) };
  } catch {
    throw invalid(allowed);
  }
}

/** A page of a list: the first row has the number 1. */
export interface Range {
  start: number;
  count: number;
}

/** `startIndex` and `count`; what is below the least value counts as it. @throws AppError `invalid_value` */
export function readRange(query: Record<string, string | string[]>): Range {
  const whole = (name: string, least: number, absent: number) => {
    const value = query[name];
    if (value === undefined || value === "") return absent;
    if (typeof value !== "string" || !/^-?\d{1,9}$/.test(value))
      throw new AppError("invalid", "invalid_value", `${name} must be a whole number.`, { param: name });
    return Math.max(least, Number(value));
  };
  return { start: whole("startIndex", 1, 1), count: Math.min(MAX_COUNT, whole("count", 0, 100)) };
}
