/** Sorts AWS's errors into the kinds of the contract, with AWS's own code. */
import type { ProviderErrorKind, ProviderFailure, ProviderHost } from "../../src/contract/provider.ts";

/** An error of the SDK, as far as it is known. */
interface SdkError {
  name?: string;
  message?: string;
  Code?: string;
  /** Set for errors that AWS described. */
  $fault?: string;
  $metadata?: { httpStatusCode?: number };
  $response?: { headers?: Record<string, string> };
}

interface Rule {
  pattern: RegExp;
  kind: ProviderErrorKind;
  message: string;
  reason?: string;
}

/** The first match of AWS's code wins. */
const RULES: readonly Rule[] = [
  {
    pattern: /^SpotMaxPriceTooLow$/,
    kind: "no_capacity",
    message: "The spot price is above the limit",
    reason: "price_raised",
  },
  {
    pattern: /^(Insufficient.*Capacity.*|UnfulfillableCapacity|Unsupported|ReservationCapacityExceeded)$/,
    kind: "no_capacity",
    message: "AWS has no free machine of this type",
  },
  {
    pattern: /^(RequestLimitExceeded|Throttl.*|EC2Throttled.*|TooManyRequests.*|SlowDown|PriorRequestNotComplete)$/,
    kind: "rate_limited",
    message: "AWS limits the rate of requests",
  },
  {
    pattern: /(LimitExceeded|CountExceeded|QuotaExceeded.*)$/,
    kind: "quota",
    message: "The account's quota at AWS does not allow this machine",
  },
  {
    pattern: /^(RequestExpired|RequestTimeTooSkewed)$/,
    kind: "transient",
    message: "The clock of this server differs from that of AWS",
  },
  {
    pattern:
      /^(AuthFailure|UnauthorizedOperation|InvalidClientTokenId|UnrecognizedClient.*|SignatureDoesNotMatch|InvalidSignature.*|ExpiredToken.*|OptInRequired|PendingVerification|Blocked|AccessDenied.*|MissingAuthenticationToken.*|InvalidAccessKeyId)$/,
    kind: "auth",
    message: "AWS refused the access key or a permission is missing",
  },
  {
    pattern: /^(InternalError|InternalFailure|ServiceUnavailable.*|Unavailable|RequestTimeout.*)$/,
    kind: "transient",
    message: "AWS failed",
  },
  {
    pattern: /^(InvalidAMIID.*|ParameterNotFound.*)$/,
    kind: "invalid",
    message: "The machine image is missing",
    reason: "image_missing",
  },
];

/** AWS's code of an error, such as `InsufficientInstanceCapacity`; null when AWS did not answer. */
export function codeOf(error: unknown): string | null {
  const vendor = (error as { vendorCode?: unknown }).vendorCode;
  if (typeof vendor === "string") return vendor;
  const { Code, name, $fault, $metadata } = error as SdkError;
  if ($metadata?.httpStatusCode === undefined) return null;
  return Code ?? ($fault && name ? name : `HTTP ${$metadata.httpStatusCode}`);
}

/** True when nobody knows whether AWS did what it was asked for: no answer, or a failure of its own. */
export const isUncertain = (error: unknown) =>
  (error as { providerErrorKind?: unknown }).providerErrorKind === "transient";

/** The error for the scheduler from an error of the SDK. */
export function awsFailure(host: ProviderHost, region: string, error: unknown): ProviderFailure {
  if (error instanceof Error && "providerErrorKind" in error) return error as ProviderFailure;
  const { $metadata, $response, message = String(error) } = error as SdkError;
  const status = $metadata?.httpStatusCode;
  const words = message.replace(/\s+/g, " ").slice(0, 300);
  if (status === undefined)
    return host.error("transient", `AWS did not answer in ${region}: ${words}`, { cause: error });
  const code = codeOf(error) ?? String(status);
  const make = (kind: ProviderErrorKind, text: string, reason?: string) =>
    host.error(kind, `${text} (${region}, ${code}): ${words}`, {
      cause: error,
      vendorCode: code,
      ...(reason ? { reason } : {}),
      ...(kind === "rate_limited" ? { retryAfterS: retryAfter($response?.headers) } : {}),
    });
  const rule = RULES.find(({ pattern }) => pattern.test(code));
  if (rule) return make(rule.kind, rule.message, rule.reason);
  if (status === 429) return make("rate_limited", "AWS limits the rate of requests");
  if (status === 401 || status === 403) return make("auth", "AWS refused the request");
  if (status >= 500) return make("transient", "AWS failed");
  if (status < 400) return make("transient", "AWS's answer cannot be read");
  return make("invalid", "AWS did not accept the request");
}

function retryAfter(headers: Record<string, string> = {}): number {
  const seconds = Number(headers["retry-after"]);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : 10;
}
