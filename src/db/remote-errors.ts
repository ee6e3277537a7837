/** What errors of a libSQL server mean for a request: the connection, the server, the token, or the statement. */
import { ClientError, ClosedError, HttpServerError, ResponseError } from "@libsql/hrana-client";
import { AppError } from "../errors.ts";

/** Seconds after which a client may ask again. */
const RETRY_S = 5;

/** The error behind closed streams and wrappers. */
function causeOf(error: unknown): unknown {
  return error instanceof ClosedError && error.cause !== undefined ? causeOf(error.cause) : error;
}

const codeOf = (error: unknown): string => (error instanceof ResponseError && error.code) || "";

/** True when no answer came: it is not known what the server did. */
export function isLost(error: unknown): boolean {
  const cause = causeOf(error);
  if (cause instanceof AppError) return false;
  // A server that was started again knows no earlier stream ("baton").
  if (cause instanceof HttpServerError)
    return cause.status >= 500 || cause.status === 408 || cause.status === 429 || /baton/i.test(cause.message);
  if (/^(STREAM_EXPIRED|STREAM_NOT_OPEN|TRANSACTION_TIMEOUT)$/.test(codeOf(cause))) return true;
  if (cause instanceof HttpServerError || cause instanceof ResponseError) return false;
  return !(cause instanceof ClientError) || cause instanceof ClosedError;
}

/** True when another transaction has the database; the statement did nothing. */
export const isTaken = (error: unknown): boolean => /^SQLITE_(BUSY|LOCKED)/.test(codeOf(causeOf(error)));

/** True when an open transaction continues after the error. */
export const continues = (error: unknown): boolean =>
  /^(SQLITE_CONSTRAINT|SQLITE_ERROR|SQLITE_UNKNOWN|SQLITE_MISMATCH|SQLITE_RANGE|SQL_|ARGS_)/.test(codeOf(error)) ||
  // A value that the protocol has no form for is found before anything is sent.
  error instanceof RangeError ||
  (error instanceof TypeError && /value/i.test(error.message));

export const unreachable = (cause: unknown): AppError =>
  new AppError(
    "unavailable",
    "database_unreachable",
    "The database server does not answer. Nothing of this request was stored. Try again in a moment.",
    { cause, retryAfterS: RETRY_S },
  );

/** For a commit without an answer, while the server stays away. */
export const unknownOutcome = (cause: unknown): AppError =>
  new AppError(
    "unavailable",
    "database_outcome_unknown",
    "The database server stopped answering while it stored this request. It may be stored: look before you send it again.",
    { cause, retryAfterS: RETRY_S },
  );

/** The error for the caller: an AppError when the database is the reason, else the one of the statement. */
export function remoteError(error: unknown): unknown {
  const cause = causeOf(error);
  if (cause instanceof AppError) return cause;
  if (isTaken(cause))
    return new AppError("unavailable", "database_busy", "The database is busy; try again in a moment.", {
      cause,
      retryAfterS: 1,
    });
  if (isLost(cause)) return unreachable(cause);
  const status = cause instanceof HttpServerError ? cause.status : 0;
  if (status === 401 || status === 403 || /^AUTH/.test(codeOf(cause)))
    return new AppError(
      "unavailable",
      "database_refused",
      "The database server refuses the token. Check database_token, or database_token_file.",
      { cause },
    );
  if (status === 404)
    return new AppError(
      "unavailable",
      "database_missing",
      "The database server has no database at this address. Check database_url, or create the database.",
      { cause },
    );
  if (/^SQLITE_FULL|^SQLITE_IOERR/.test(codeOf(cause)))
    return new AppError(
      "no_space",
      "disk_full",
      "The database server could not write: its disk is full or failing. Nothing of this request was stored. Free some space and try again.",
      { cause },
    );
  return error;
}
