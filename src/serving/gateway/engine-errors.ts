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
const LINK = /For further information visit \S+/g;

const TYPES: Record<number, string> = {
  401: "authentication_error",
  403: "permission_error",
  429: "rate_limit_error",
};

const textOr = <T>(value: unknown, fallback: T) => (typeof value === "string" && value !== "" ? value : fallback);

/** A message without what pydantic adds to it: the value that the client sent, and a link. */
function withoutQuotes(message: string): string {
  let text = "";
  let at = 0;
  for (let start = message.indexOf("input_value="); start >= 0; start = message.indexOf("input_value=", at)) {
    const before = message.slice(at, start);
    text += before.endsWith(", ") ? before.slice(0, -2) : before.endsWith("[") ? before.slice(0, -1) : before;
    const type = message.indexOf(", input_type=", start);
    const close = message.indexOf("]", Math.max(start, type));
    at = close < 0 ? message.length : close + 1;
    // Without a type, one search has seen the rest of the message.
    if (type < 0) break;
  }
  return `${text}${message.slice(at)}`.replace(LINK, "").trim();
}

/** An engine's JSON answer to a refused request as OpenAI's error; null when it contains no message. */
export function engineRefusal(status: number, body: Record<string, unknown> | null): EngineError | null {
  // vLLM wraps its error in `error`; older ones do not.
  const error = (typeof body?.error === "object" && body.error !== null ? body.error : body) as EngineError | null;
  const message = textOr(error?.message, "");
  if (!error || message === "") return null;
  const plain = withoutQuotes(message);
  const tooLong = status === 400 && CONTEXT.test(plain);
  const short = plain.length > MAX_MESSAGE ? `${plain.slice(0, MAX_MESSAGE).toWellFormed()}…` : plain;
  return {
    message: tooLong && !short.includes(CONTEXT_CODE) ? `${short} (${CONTEXT_CODE})` : short,
    type: TYPES[status] ?? "invalid_request_error",
    param: textOr(error.param, null),
    code: tooLong ? CONTEXT_CODE : textOr(error.code, null),
  };
}
