/** Errors of the chat completion behind a response, with the names that the Responses API has for the fields. */
import { AppError } from "../../errors.ts";

/** Fields of a chat completion by the start of their path, and their names in the Responses API. */
const NAMES: [RegExp, string][] = [
  [/^messages(\..*)?$/, "input"],
  [/^response_format(\.json_schema)?/, "text.format"],
  [/^max_(completion_)?tokens$/, "max_output_tokens"],
  [/^reasoning_effort$/, "reasoning.effort"],
  [/^(tools\.\d+)\.function/, "$1"],
  [/^logprobs$/, "include"],
];

function renamed(param: string): string {
  const found = NAMES.find(([pattern]) => pattern.test(param));
  return found ? param.replace(found[0], found[1]) : param;
}

/** Throws an error of the gateway about the field as the client named it. */
export function rethrow(error: unknown): never {
  throw error instanceof AppError && error.param ? error.withParam(renamed(error.param)) : error;
}

/** The engine's refusal with the field as the client named it. */
export async function refusal(reply: Response): Promise<Response> {
  if (!reply.headers.get("content-type")?.startsWith("application/json")) return reply;
  const body = (await reply.json()) as { error: { param: string | null } };
  if (body.error.param) body.error.param = renamed(body.error.param);
  const headers = new Headers(reply.headers);
  headers.delete("content-length");
  return new Response(JSON.stringify(body), { status: reply.status, headers });
}
