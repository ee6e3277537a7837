/** Kinds of settings: each takes a value of `config.json`, and the same as text of the environment. */
import * as v from "valibot";
import { MODERATION_CATEGORIES } from "../moderation.ts";
import { STRIPE_KEY, STRIPE_SIGNING_SECRET } from "./stripe-keys.ts";

/** A whole number from `min` to `max`. */
export const integer = (min: number, max: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.regex(/^-?\d+$/, "must be a whole number"), v.transform(Number))]),
    v.integer(),
    v.minValue(min),
    v.maxValue(max),
  );
/** 0 to 100, with up to four decimals. */
export const percent = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,3}(\.\d{1,4})?$/, "must be a number"), v.transform(Number))]),
  v.minValue(0),
  v.maxValue(100),
);
/** True or false. */
export const flag = v.union([
  v.boolean(),
  v.pipe(
    v.picklist(["true", "false", "1", "0"]),
    v.transform((text) => text === "true" || text === "1"),
  ),
]);

/** A list, or its elements separated by commas or spaces; each matches `pattern`. */
export const listOf = (pattern: RegExp, message: string) =>
  v.pipe(
    v.union([
      v.array(v.string()),
      v.pipe(
        v.string(),
        v.transform((text) => text.split(/[\s,]+/).filter(Boolean)),
      ),
    ]),
    v.array(v.pipe(v.string(), v.regex(pattern, message))),
  );
/** Absolute paths, separated by commas. */
export const absolutePaths = v.pipe(
  v.union([
    v.array(v.string()),
    v.pipe(
      v.string(),
      v.transform((text) => text.split(",").map((path) => path.trim())),
    ),
  ]),
  v.array(v.pipe(v.string(), v.startsWith("/", "must be absolute paths, separated by commas"))),
);
/** Hosts with or without a port. */
export const hosts = listOf(/^[a-z0-9.-]+(:\d{1,5})?$|^\[[0-9a-f:]+\](:\d{1,5})?$/, "must be hosts in lower case");
const value = v.union([v.string(), v.number(), v.boolean()]);
const jsonOf = <T extends v.GenericSchema>(schema: T) =>
  v.pipe(
    v.union([
      v.record(v.string(), v.unknown()),
      v.pipe(
        v.string(),
        v.rawTransform(({ dataset, addIssue, NEVER }) => {
          try {
            return JSON.parse(dataset.value) as unknown;
          } catch {
            addIssue({ message: "must be JSON" });
            return NEVER;
          }
        }),
      ),
    ]),
    schema,
  );
/** Fields by provider. */
export const providerSettings = jsonOf(v.record(v.string(), v.record(v.string(), value)));
/** Words and phrases by category; each has a letter or digit, without which nothing is ever found. */
export const moderationRules = jsonOf(
  v.record(
    v.picklist(MODERATION_CATEGORIES, `must name categories of ${MODERATION_CATEGORIES.join(", ")}`),
    v.array(v.pipe(v.string(), v.maxLength(200), v.regex(/[\p{L}\p{N}]/u, "must be words"))),
  ),
);

/** An absolute path of a file. */
export const absolutePath = v.pipe(v.string(), v.startsWith("/", "must be an absolute path"));

/** A secret or restricted key of Stripe. */
export const stripeKey = v.pipe(
  v.string(),
  v.regex(STRIPE_KEY, "must be a secret key such as sk_test_…, sk_live_… or rk_…"),
);
/** What a webhook endpoint of Stripe signs with. */
export const stripeSigningSecret = v.pipe(
  v.string(),
  v.regex(STRIPE_SIGNING_SECRET, "must be a signing secret such as whsec_…"),
);
/** A server on this machine. */
export const loopbackUrl = v.pipe(
  v.string(),
  v.regex(/^http:\/\/(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}$/, "must be an address such as http://127.0.0.1:8420"),
);
