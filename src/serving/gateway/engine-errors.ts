/**
 * Errors of engines in OpenAI's form. Client libraries choose their error class by the status, the code and, for a
 * prompt that is too long, the wording; engines differ in all three.
 */

interface EngineError {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
}

/** Longest message in characters: an engine may quote the request. */
const MAX_MESSAGE = 1000;
const CONTEXT_CODE = "context_length_exceeded";
const CONTEXT = /maximum context length|context_length_exceeded|longer than the maximum model length/i;
/** What pydantic adds to a message: the value that the client sent, and a link. */
const QUOTED = /,? ?\[?input_value=.*?(, input_type=\w+)?\]|For further information visit \S+/gs;

const TYPES: Record<number, string> = {
  401: "authentication_error",
  403: "permission_error",
  429: "rate_limit_error",
};

const textOr = <T>(value: unknown, fallback: T) => (typeof value === "string" && value !== "" ? value : fallback);

/** An engine's JSON answer to a refused request as OpenAI's error; null when it contains no message. */
export function engineRefusal(status: number, body: Record<string, unknown> | null): EngineError | null {
  // vLLM wraps its error in `error`; older ones do not.
  const error = (typeof body?.error === "object" && body.error !== null ? body.error : body) as EngineError | null;
  const message = textOr(error?.message, "");
  if (!error || message === "") return null;
  const plain = message.replace(QUOTED, "").trim();
  const tooLong = status === 400 && CONTEXT.test(plain);
  const short = plain.length > MAX_MESSAGE ? `${plain.slice(0, MAX_MESSAGE).toWellFormed()}…` : plain;
  return {
    message: tooLong && !short.includes(CONTEXT_CODE) ? `${short} (${CONTEXT_CODE})` : short,
    type: TYPES[status] ?? "invalid_request_error",
    param: textOr(error.param, null),
    code: tooLong ? CONTEXT_CODE : textOr(error.code, null),
  };
}
