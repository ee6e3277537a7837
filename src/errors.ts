/** The error that services throw, and the table of HTTP status and OpenAI error type by its kind. */

export type ErrorKind =
  | "invalid"
  | "unauthenticated"
  | "forbidden"
  | "not_found"
  | "conflict"
  | "gone"
  | "too_large"
  | "unsupported_media"
  | "unprocessable"
  | "rate_limited"
  | "over_quota"
  | "no_space"
  | "unavailable"
  | "internal";

/**
 * HTTP status and the `type` field of OpenAI's error envelope, by kind. `conflict` and `over_quota` do not end by
 * themselves: they also send `x-should-retry: false`.
 */
export const ERROR_TABLE: Record<ErrorKind, { status: number; type: string }> = {
  invalid: { status: 400, type: "invalid_request_error" },
  unauthenticated: { status: 401, type: "authentication_error" },
  forbidden: { status: 403, type: "permission_error" },
  not_found: { status: 404, type: "invalid_request_error" },
  conflict: { status: 409, type: "invalid_request_error" },
  gone: { status: 410, type: "invalid_request_error" },
  too_large: { status: 413, type: "invalid_request_error" },
  unsupported_media: { status: 415, type: "invalid_request_error" },
  unprocessable: { status: 422, type: "invalid_request_error" },
  rate_limited: { status: 429, type: "rate_limit_error" },
  over_quota: { status: 429, type: "insufficient_quota" },
  no_space: { status: 507, type: "server_error" },
  unavailable: { status: 503, type: "server_error" },
  internal: { status: 500, type: "server_error" },
};

interface AppErrorOptions {
  /** The field the message is about, as the client named it. */
  param?: string | null;
  /** Kept for the log, never sent. */
  cause?: unknown;
  /** Sent as `retry-after`, in seconds. */
  retryAfterS?: number;
}

/** An error meant for the user: `message` says what happened and what to do; `code` is stable and machine-readable. */
export class AppError extends Error {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly param: string | null;
  readonly retryAfterS: number | null;

  constructor(kind: ErrorKind, code: string, message: string, options: AppErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.name = "AppError";
    this.kind = kind;
    this.code = code;
    this.param = options.param ?? null;
    this.retryAfterS = options.retryAfterS ?? null;
  }

  /**
   * The same error about another field, for callers whose clients know the field by another name.
   * @param kind another kind for this caller: an object that was not found may be an invalid value of the field
   */
  withParam(param: string, kind = this.kind): AppError {
    const { code, message, cause, retryAfterS } = this;
    return new AppError(kind, code, message, { param, cause, ...(retryAfterS === null ? {} : { retryAfterS }) });
  }
}

/** The error for an object that does not exist or belongs to another organization; the two look the same. */
export function notFound(what: string, id: string): AppError {
  return new AppError("not_found", `${what}_not_found`, `No such ${what.replaceAll("_", " ")}: ${id}`, { param: "id" });
}

/**
 * OpenAI's error envelope.
 * @param advice follows the message
 */
export function errorBody(
  error: AppError,
  advice = "",
): {
  error: { message: string; type: string; param: string | null; code: string };
} {
  return {
    error: {
      message: error.message + advice,
      type: ERROR_TABLE[error.kind].type,
      param: error.param,
      code: error.code,
    },
  };
}
