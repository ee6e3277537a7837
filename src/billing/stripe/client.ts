/** The client of Stripe: one for each context and key, with a pinned API version. Its errors never carry the key. */
import Stripe from "stripe";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { modeOfKey, type StripeMode } from "../../lib/text/stripe-keys.ts";

/** The version of Stripe's API that this program is written for; webhook endpoints must use it too. */
export const STRIPE_API_VERSION = "2026-10-28.endive";
const TIMEOUT_MS = 20_000;

interface Connected {
  key: string;
  url: string | null;
  client: Stripe;
}

const connected = perContext((): { value: Connected | null } => ({ value: null }));

/** The mode of the stored key; null without one. */
export function stripeMode(ctx: Ctx): StripeMode | null {
  const key = ctx.config.stripe_secret_key;
  return key ? modeOfKey(key) : null;
}

function connect(key: string, url: string | null): Stripe {
  const at = url ? new URL(url) : null;
  return new Stripe(key, {
    apiVersion: STRIPE_API_VERSION,
    httpClient: Stripe.createFetchHttpClient(),
    maxNetworkRetries: 2,
    timeout: TIMEOUT_MS,
    telemetry: false,
    appInfo: { name: "Fine-Tune Lab" },
    ...(at ? { protocol: "http" as const, host: at.hostname, port: at.port } : {}),
  });
}

/**
 * The client of the stored key.
 * @throws AppError `stripe_not_set` without a key, `stripe_live_key` when a live key would be sent to a test server
 */
export function stripeClient(ctx: Ctx): Stripe {
  const { stripe_secret_key: key, stripe_test_url: url } = ctx.config;
  if (!key)
    throw new AppError(
      "conflict",
      "stripe_not_set",
      "Payments are not set up: an administrator enters the key of Stripe in Administration, Payments.",
    );
  if (url && modeOfKey(key) === "live")
    throw new AppError(
      "conflict",
      "stripe_live_key",
      "A live key is sent only to Stripe. Unset stripe_test_url, or use a test key.",
    );
  const state = connected(ctx);
  if (state.value?.key !== key || state.value.url !== url) state.value = { key, url, client: connect(key, url) };
  return state.value.client;
}

/** Words of Stripe with everything that looks like a key taken out: its messages repeat parts of a wrong one. */
const withoutKeys = (text: string) => text.replace(/\b([rsp]k_(?:test|live)_|whsec_)[^\s,;]+/g, "$1…");

/** What Stripe answered, as an error of ours; the code is Stripe's, such as `stripe_card_declined`. */
function stripeError(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  if (!(cause instanceof Stripe.errors.StripeError))
    return new AppError("unavailable", "stripe_unreachable", "Stripe could not be asked. It is tried again.", {
      cause: cause instanceof Error ? new Error(withoutKeys(cause.message)) : undefined,
    });
  const code = `stripe_${cause.code ?? cause.rawType ?? "error"}`;
  const said = withoutKeys(cause.message);
  if (cause instanceof Stripe.errors.StripeConnectionError)
    return new AppError("unavailable", "stripe_unreachable", "Stripe does not answer. Try again in a moment.");
  if (cause instanceof Stripe.errors.StripeAuthenticationError)
    return new AppError("conflict", "stripe_key_refused", "Stripe refused the key. Enter a valid one.");
  if (cause instanceof Stripe.errors.StripePermissionError)
    return new AppError("conflict", "stripe_permission", `The key of Stripe may not do this: ${said}`);
  if (cause instanceof Stripe.errors.StripeRateLimitError || (cause.statusCode ?? 0) >= 500)
    return new AppError("unavailable", code, `Stripe cannot do this at the moment: ${said}`, { retryAfterS: 5 });
  return new AppError("conflict", code, `Stripe refused: ${said}`);
}

/**
 * Calls Stripe.
 * @throws AppError as `stripeClient` and `stripeError`
 */
export async function askStripe<T>(ctx: Ctx, ask: (client: Stripe) => Promise<T>): Promise<T> {
  const client = stripeClient(ctx);
  try {
    return await ask(client);
  } catch (cause) {
    throw stripeError(cause);
  }
}

/** Whether an object does not exist for this key: deleted, or of another account or mode. */
const isMissing = (cause: unknown): boolean =>
  cause instanceof Stripe.errors.StripeError && (cause.statusCode === 404 || cause.code === "resource_missing");

/** As `askStripe`; null for an object that does not exist for this key. */
export function findAtStripe<T>(ctx: Ctx, ask: (client: Stripe) => Promise<T>): Promise<T | null> {
  return askStripe(ctx, (client) =>
    ask(client).catch((cause) => {
      if (isMissing(cause)) return null;
      throw cause;
    }),
  );
}

/** The id of a field that holds an id, or the object itself when it was expanded. */
export const idOf = (given: string | { id: string } | null | undefined): string | null =>
  typeof given === "string" ? given : (given?.id ?? null);
