/** The form of an API key's restrictions: texts of a browser, read as the API reads a request. */
import * as v from "valibot";
import type { KeyView } from "../../../src/accounts/api-keys/model.ts";
import { Name } from "../../../src/accounts/auth/model.ts";
import {
  askedOf,
  RestrictionFields,
  type Restrictions,
  restrictBelow,
} from "../../../src/accounts/keys/restrictions.ts";
import { AppError } from "../../../src/errors.ts";
import { DAY_MS } from "../../../src/lib/clock.ts";
import { SCOPES } from "../../../src/roles.ts";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");

/** A field each: the form is sent again after a proof, which keeps single fields. */
export const RESTRICTION_TEXTS = {
  allowed_addresses: text(10_000),
  allowed_models: text(50_000),
  requests_per_minute: text(20),
  tokens_per_minute: text(20),
};

export const KeyForm = v.object({
  name: text(300),
  days: text(6),
  scope_read: text(3),
  scope_train: text(3),
  scope_infer: text(3),
  scope_admin: text(3),
  ...RESTRICTION_TEXTS,
});
type KeyForm = v.InferOutput<typeof KeyForm>;

/** Restrictions as typed: entries of a list on lines of their own, an empty text = not restricted. */
export type RestrictionTexts = Record<keyof typeof RESTRICTION_TEXTS, string>;

export const NO_RESTRICTIONS: RestrictionTexts = {
  allowed_addresses: "",
  allowed_models: "",
  requests_per_minute: "",
  tokens_per_minute: "",
};

export const RESTRICTION_LABELS: Record<keyof RestrictionTexts, string> = {
  allowed_addresses: "Allowed addresses",
  allowed_models: "Allowed models",
  requests_per_minute: "Requests per minute",
  tokens_per_minute: "Tokens per minute",
};

export const textsOf = (key: Pick<KeyView, keyof RestrictionTexts>): RestrictionTexts => ({
  allowed_addresses: key.allowed_addresses?.join("\n") ?? "",
  allowed_models: key.allowed_models?.join("\n") ?? "",
  requests_per_minute: key.requests_per_minute?.toString() ?? "",
  tokens_per_minute: key.tokens_per_minute?.toString() ?? "",
});

const entriesOf = (typed: string, between: RegExp) => {
  const entries = typed
    .split(between)
    .map((each) => each.trim())
    .filter(Boolean);
  return entries.length > 0 ? entries : null;
};
const numberOf = (typed: string) => (typed.trim() === "" ? null : Number(typed.trim()));

const wrong = (message: string, param: string) => new AppError("invalid", "invalid_value", message, { param });

/** @throws AppError `invalid_value` naming the field */
export function readRestrictions(typed: RestrictionTexts): Restrictions {
  const asked = {
    allowed_addresses: entriesOf(typed.allowed_addresses, /[\s,]+/),
    // Names of deployments may have spaces.
    allowed_models: entriesOf(typed.allowed_models, /[\r\n]+/),
    requests_per_minute: numberOf(typed.requests_per_minute),
    tokens_per_minute: numberOf(typed.tokens_per_minute),
  };
  const read = v.safeParse(v.strictObject(RestrictionFields), asked);
  if (read.success) return restrictBelow(askedOf(read.output), null);
  const [issue] = read.issues;
  const field = issue.path?.[0].key as keyof RestrictionTexts;
  const message =
    Number.isNaN(asked[field]) || typeof asked[field] === "number"
      ? "must be a whole number of 1 or more"
      : issue.message;
  const entry = issue.path && issue.path.length > 1 ? ` “${String(issue.input).slice(0, 60)}”` : "";
  throw wrong(`${RESTRICTION_LABELS[field]}:${entry} ${message}.`, field);
}

/** @throws AppError `invalid_value` */
export function readKeyName(typed: string): string {
  const name = v.safeParse(Name, typed);
  if (name.success) return name.output;
  throw wrong(typed.trim() ? `The key's name ${name.issues[0].message}.` : "Give the key a name.", "name");
}

const scopesOf = (body: KeyForm) => SCOPES.filter((scope) => body[`scope_${scope}`]);

/** A new key as typed, for a form that is shown again. */
export const typedKey = (body: KeyForm) => ({ ...body, scopes: scopesOf(body) });

/**
 * A new key as the service takes it.
 * @param now milliseconds
 * @throws AppError `invalid_value` naming the field
 */
export function readKeyForm(body: KeyForm, now: number) {
  const name = readKeyName(body.name);
  const days = body.days ? Number(body.days) : null;
  if (days !== null && !(Number.isInteger(days) && days >= 1 && days <= 3650))
    throw wrong("Days must be a whole number from 1 to 3650.", "days");
  const scopes = scopesOf(body);
  if (scopes.length === 0) throw wrong("Choose at least one scope.", "scopes");
  return {
    name,
    expiresAt: days === null ? null : now + days * DAY_MS,
    restrictions: readRestrictions(body),
    ...(scopes.length < SCOPES.length ? { scopes } : {}),
  };
}
