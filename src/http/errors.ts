/**
 * Elysia plugin that turns every error into a safe answer: OpenAI's envelope for the API, SCIM's for provisioning, a
 * page for browsers. Causes are only logged.
 */
import { Elysia, NotFoundError, ParseError, ValidationError } from "elysia";
import type { Ctx } from "../ctx.ts";
import { AppError, ERROR_TABLE, errorBody } from "../errors.ts";
import { newId } from "../lib/ids.ts";
import { tooDeep } from "../lib/text/json.ts";
import { pathOf } from "./address.ts";
import { noteRefused } from "./refusals.ts";
import { requestState } from "./request-state.ts";
import { fromValidation } from "./validation.ts";

const SCIM_TYPE = "application/scim+json; charset=utf-8";
const SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error";

/** Our codes that the standard names. */
const SCIM_TYPES: Record<string, string> = {
  uniqueness: "uniqueness",
  email_taken: "uniqueness",
  invalid_filter: "invalidFilter",
  invalid_value: "invalidValue",
  invalid_type: "invalidValue",
  missing_required_parameter: "invalidValue",
  no_target: "noTarget",
  body_not_parsable: "invalidSyntax",
};

/** True for a path of the SCIM API. */
const isScim = (path: string) => path.startsWith("/scim/");

/** An answer of the SCIM API with a body. */
export const scimAnswer = (body: unknown, status = 200, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers: { ...headers, "content-type": SCIM_TYPE } });

/** An error as clients of SCIM 2.0 read it (RFC 7644). */
function scimError(error: AppError, headers: Record<string, string>): Response {
  const { status } = ERROR_TABLE[error.kind];
  const scimType = SCIM_TYPES[error.code];
  const body = {
    schemas: [SCIM_ERROR],
    status: String(status),
    ...(scimType ? { scimType } : {}),
    detail: error.message,
  };
  const challenge: Record<string, string> = status === 401 ? { "www-authenticate": "Bearer" } : {};
  return scimAnswer(body, status, { ...headers, ...challenge });
}

/** The AppError for any thrown value; unknown values become `internal`. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof ValidationError) return fromValidation(error);
  if (error instanceof NotFoundError)
    return new AppError(
      "not_found",
      "unknown_url",
      "There is nothing at this address. See /docs for the API reference.",
    );
  // Our own body parser throws AppErrors, which Elysia wraps.
  if (error instanceof ParseError && error.cause instanceof AppError) return error.cause;
  if (error instanceof ParseError)
    return new AppError(
      "invalid",
      "body_not_parsable",
      "The request body could not be read: send valid JSON with `content-type: application/json`.",
      { cause: error },
    );
  // Only a deeply nested value from a client can exhaust the stack here.
  if (error instanceof RangeError && /call stack/i.test(error.message)) return tooDeep(undefined, error);
  // Drizzle and better-auth wrap what the database says.
  for (let at = error; at instanceof Error; at = at.cause)
    if (at instanceof AppError && (at.kind === "unavailable" || at.kind === "no_space")) return at;
  return new AppError(
    "internal",
    "internal_error",
    "Something went wrong on the server. The log has the details under this request id.",
    { cause: error },
  );
}

/** True when a browser asks for a page, rather than an API client. */
function wantsPage(request: Request): boolean {
  return (
    !/^\/(v1|trainer|scim)(\/|$)/.test(pathOf(request.url)) &&
    (request.headers.get("accept") ?? "").includes("text/html") &&
    // No page can be rendered for an invalid address.
    URL.canParse(request.url)
  );
}

/**
 * Answers a browser for an error. src/app.ts passes it in: pages import this folder, not the other way around.
 * @param body the error as the API reports it
 */
type ErrorPage = (
  ctx: Ctx,
  request: Request,
  error: AppError,
  headers: Record<string, string>,
  body: unknown,
) => Response;

function errorResponse(ctx: Ctx, request: Request, error: AppError, requestId: string, page: ErrorPage): Response {
  const { status } = ERROR_TABLE[error.kind];
  if (status >= 500)
    ctx.log("error", error.message, { request_id: requestId, code: error.code, cause: error.cause ?? error });
  const headers: Record<string, string> = { "x-request-id": requestId };
  // Clients that retry every 409 must not retry a permanent conflict.
  if (error.kind === "conflict" || error.kind === "over_quota") headers["x-should-retry"] = "false";
  if (error.retryAfterS !== null) headers["retry-after"] = String(Math.ceil(error.retryAfterS));
  if (isScim(pathOf(request.url))) return scimError(error, headers);
  const contact = status === 500 ? ctx.config.contact_address : null;
  const body = errorBody(error, contact ? ` Contact ${contact} with that id if it happens again.` : "");
  if (wantsPage(request)) return page(ctx, request, error, headers, body);
  return Response.json(body, { status, headers });
}

export const errors = (ctx: Ctx, page: ErrorPage) =>
  new Elysia({ name: "errors", seed: ctx.installation }).onError({ as: "global" }, ({ error, request, set }) => {
    const state = requestState(request);
    if (state) set.headers["openai-processing-ms"] = String(Math.round(ctx.clock.monotonic() - state.startedAt));
    const answered = toAppError(error);
    noteRefused(ctx, request, answered);
    return errorResponse(ctx, request, answered, state?.id ?? newId("request"), page);
  });
