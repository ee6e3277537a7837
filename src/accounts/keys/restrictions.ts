/** What the owner of an API key restricts it to: how restrictions are written, and that a key passes on no more. */
import * as v from "valibot";
import { AppError } from "../../errors.ts";
import { isAddressEntry, isWithin } from "../../lib/net/addresses.ts";

const MAX_ENTRIES = 100;
const MAX_RATE = 1_000_000_000;

const distinct = (values: string[]) => [...new Set(values)];
const listOf = (entry: v.GenericSchema<string, string>) =>
  v.optional(
    v.nullable(
      v.pipe(v.array(entry), v.minLength(1, "needs at least one"), v.maxLength(MAX_ENTRIES), v.transform(distinct)),
    ),
  );
const rate = v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_RATE))));

/** The fields of a request. Absent = as it is, or not restricted; null = not restricted. */
export const RestrictionFields = {
  /** Client addresses and networks that may use the key, such as `203.0.113.7` or `2001:db8::/32`. */
  allowed_addresses: listOf(
    v.pipe(
      v.string(),
      v.trim(),
      v.toLowerCase(),
      v.maxLength(50),
      v.check(isAddressEntry, "must be an IP address or a network such as 203.0.113.0/24"),
    ),
  ),
  /** Ids of models and names of deployments that the key may use. */
  allowed_models: listOf(v.pipe(v.string(), v.trim(), v.minLength(1), v.maxLength(400))),
  /** Requests a minute on all routes together, below the limit of the installation. */
  requests_per_minute: rate,
  /** Tokens a minute, of prompts and answers together. */
  tokens_per_minute: rate,
};

const Asked = v.strictObject(RestrictionFields);

/** As stored. */
export interface Restrictions {
  allowedAddresses: string[] | null;
  allowedModels: string[] | null;
  requestsPerMinute: number | null;
  tokensPerMinute: number | null;
}

const UNRESTRICTED: Restrictions = {
  allowedAddresses: null,
  allowedModels: null,
  requestsPerMinute: null,
  tokensPerMinute: null,
};

/** Only the restrictions of a request with other fields too; what is absent stays absent. */
export function askedOf(body: v.InferOutput<typeof Asked>): Partial<Restrictions> {
  const { allowed_addresses, allowed_models, requests_per_minute, tokens_per_minute } = body;
  return {
    ...(allowed_addresses === undefined ? {} : { allowedAddresses: allowed_addresses }),
    ...(allowed_models === undefined ? {} : { allowedModels: allowed_models }),
    ...(requests_per_minute === undefined ? {} : { requestsPerMinute: requests_per_minute }),
    ...(tokens_per_minute === undefined ? {} : { tokensPerMinute: tokens_per_minute }),
  };
}

/** Only the restrictions of a row with other columns too. */
export const restrictionsOf = ({
  allowedAddresses,
  allowedModels,
  requestsPerMinute,
  tokensPerMinute,
}: Restrictions): Restrictions => ({ allowedAddresses, allowedModels, requestsPerMinute, tokensPerMinute });

/** The restrictions of a row, as clients see them and the audit log has them. */
export const restrictionsView = (row: Restrictions) => ({
  allowed_addresses: row.allowedAddresses,
  allowed_models: row.allowedModels,
  requests_per_minute: row.requestsPerMinute,
  tokens_per_minute: row.tokensPerMinute,
});

/** Those that are set, for the audit log. */
export const restrictionsSet = (row: Restrictions) =>
  Object.fromEntries(Object.entries(restrictionsView(row)).filter(([, value]) => value !== null));

function exceeds(param: keyof ReturnType<typeof restrictionsView>, detail: string): AppError {
  return new AppError(
    "forbidden",
    "exceeds_key",
    `A key that a key creates has at most its restrictions: ${detail}. Leave that out, or create the key in Settings > API keys.`,
    { param },
  );
}

/**
 * The restrictions of a key below another one. What is not asked for is taken over.
 * @param parent null = a person creates it
 * @throws AppError `exceeds_key` (403) naming the field
 */
export function restrictBelow(asked: Partial<Restrictions>, parent: Restrictions | null): Restrictions {
  const wanted = { ...restrictionsOf(parent ?? UNRESTRICTED), ...asked };
  if (!parent) return wanted;
  const { allowedAddresses, allowedModels, requestsPerMinute, tokensPerMinute } = parent;
  const outside =
    allowedAddresses && (wanted.allowedAddresses?.find((one) => !isWithin(one, allowedAddresses)) ?? null);
  if (allowedAddresses && (wanted.allowedAddresses === null || outside !== null))
    throw exceeds("allowed_addresses", `${outside ?? "any address"} is not within ${allowedAddresses.join(", ")}`);
  const other = allowedModels && (wanted.allowedModels?.find((one) => !allowedModels.includes(one)) ?? null);
  if (allowedModels && (wanted.allowedModels === null || other !== null))
    throw exceeds("allowed_models", `${other ?? "any model"} is not one of ${allowedModels.join(", ")}`);
  if (requestsPerMinute !== null && (wanted.requestsPerMinute ?? Number.POSITIVE_INFINITY) > requestsPerMinute)
    throw exceeds("requests_per_minute", `at most ${requestsPerMinute} requests a minute`);
  if (tokensPerMinute !== null && (wanted.tokensPerMinute ?? Number.POSITIVE_INFINITY) > tokensPerMinute)
    throw exceeds("tokens_per_minute", `at most ${tokensPerMinute} tokens a minute`);
  return wanted;
}
