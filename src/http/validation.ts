/** Turns a failed validation into an error that names the field and never repeats what was sent. */
import type { ValidationError } from "elysia";
import * as v from "valibot";
import { AppError } from "../errors.ts";
import { unknownParameter } from "../lib/request-fields.ts";

/** The parts of a valibot issue that are safe to show; `input` and `received` hold the client's values. */
interface Issue {
  kind?: string;
  type?: string;
  expected?: string | null;
  received?: string;
  message?: string;
  path?: { key?: unknown; origin?: string }[];
}

/** Our own messages are kept; valibot's repeat the value and are replaced. */
function isOurs(issue: Issue): boolean {
  return issue.message !== undefined && !/^Invalid [\w ]+: (Expected|Received) /.test(issue.message);
}

function describe(issue: Issue, param: string | null): { code: string; message: string } {
  const last = issue.path?.at(-1);
  if (param && last?.origin === "key" && issue.received === "undefined")
    return { code: "missing_required_parameter", message: `Missing required parameter: '${param}'.` };
  const text = isOurs(issue)
    ? issue.message
    : issue.expected
      ? `expected ${issue.expected}`
      : "this value is not allowed";
  const code = issue.kind === "schema" ? "invalid_type" : "invalid_value";
  return { code, message: `Invalid ${param ? `'${param}'` : "request"}: ${text}.`.replace(/\.\.$/, ".") };
}

/** The field an issue is about, as a dotted path of at most 200 characters: a client may have chosen its names. */
const fieldOf = (issue: Issue) =>
  issue.path
    ?.map((part) => String(part.key))
    .join(".")
    .slice(0, 200) || null;

/** 400 with `param` as a dotted path; an answer that breaks its own schema is an internal error. */
export function fromValidation(error: ValidationError): AppError {
  const issue = (error.valueError ?? {}) as Issue;
  const param = fieldOf(issue);
  if (error.type === "response")
    return new AppError("internal", "internal_error", "Something went wrong on the server.", {
      // Elysia's own error contains the whole answer.
      cause: new Error(`an answer does not match its schema at ${param ?? "the top"}: expected ${issue.expected}`),
    });
  const unknown = unknownParameter(issue, param);
  if (unknown) return unknown;
  const { code, message } = describe(issue, param);
  return new AppError("invalid", code, message, { param });
}

/**
 * The given values of a form as a schema has them. The error says in a sentence which field is wrong.
 * @param words by field: what the sentence begins with ("The port"), or the whole sentence; default: the name
 * @throws AppError `invalid_value` (422) with the field
 */
export function parseForm<S extends v.GenericSchema>(
  schema: S,
  given: unknown,
  words: Record<string, string | { sentence: string }> = {},
): v.InferOutput<S> {
  const parsed = v.safeParse(schema, given);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const param = v.getDotPath(issue)?.split(".")[0] ?? "form";
  const word = words[param] ?? `The ${param.replaceAll("_", " ")}`;
  const problem = isOurs(issue) ? issue.message : "is not valid";
  const message = typeof word === "string" ? `${word} ${problem}.` : word.sentence;
  throw new AppError("unprocessable", "invalid_value", message, { param });
}
