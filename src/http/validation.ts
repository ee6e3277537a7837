/** Turns a failed validation into an error that names the field and never repeats what was sent. */
import type { ValidationError } from "elysia";
import { AppError } from "../errors.ts";

/** The parts of a valibot issue that are safe to use: not `input`, not `received`, which hold the client's values. */
interface Issue {
  kind?: string;
  type?: string;
  expected?: string | null;
  received?: string;
  message?: string;
  path?: { key?: unknown; origin?: string }[];
}

/** Messages written by us pass; valibot's own repeat the value and are written anew. */
function isOurs(issue: Issue): boolean {
  return issue.message !== undefined && !/^Invalid [\w ]+: (Expected|Received) /.test(issue.message);
}

function describe(issue: Issue, param: string | null): { code: string; message: string } {
  const last = issue.path?.at(-1);
  if (param && last?.origin === "key" && issue.received === "undefined")
    return { code: "missing_required_parameter", message: `Missing required parameter: '${param}'.` };
  if (param && last?.origin === "key" && issue.expected === "never")
    return { code: "unknown_parameter", message: `Unknown parameter: '${param}'.` };
  const text = isOurs(issue)
    ? issue.message
    : issue.expected
      ? `expected ${issue.expected}`
      : "this value is not allowed";
  const code = issue.kind === "schema" ? "invalid_type" : "invalid_value";
  return { code, message: `Invalid ${param ? `'${param}'` : "request"}: ${text}.`.replace(/\.\.$/, ".") };
}

/**
 * The field an issue is about, as a dotted path of at most 200 characters: a client may have chosen the names in it.
 */
const fieldOf = (issue: Issue) =>
  issue.path
    ?.map((part) => String(part.key))
    .join(".")
    .slice(0, 200) || null;

/** 400 with `param` as a dotted path; a response of ours that breaks its own schema is our fault and stays internal. */
export function fromValidation(error: ValidationError): AppError {
  const issue = (error.valueError ?? {}) as Issue;
  const param = fieldOf(issue);
  if (error.type === "response")
    return new AppError("internal", "internal_error", "Something went wrong on the server.", {
      // Elysia's own error holds the whole answer.
      cause: new Error(`an answer does not fit its schema at ${param ?? "its top"}: expected ${issue.expected}`),
    });
  const { code, message } = describe(issue, param);
  return new AppError("invalid", code, message, { param });
}
