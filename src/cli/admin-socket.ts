/** Both ends of the administrator's Unix socket: the running server answers commands, the command line sends them. */

import type { Ctx } from "../ctx.ts";
import { readOwner } from "../db/lock.ts";
import { AppError, ERROR_TABLE, type ErrorKind, errorBody } from "../errors.ts";
import { pathOf } from "../http/address.ts";
import { toAppError } from "../http/errors.ts";
import { runCommand } from "./admin-commands.ts";

const PREFIX = "/commands/";

/** Answers `POST /commands/{name}` with JSON arguments. Only the server's own user can open the socket (mode 0600). */
export function adminHandler(ctx: Ctx): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      const path = pathOf(request.url);
      if (request.method !== "POST" || !path.startsWith(PREFIX))
        throw new AppError("not_found", "unknown_url", "Only POST /commands/{name} is accepted here.");
      const args = await request.json().catch((cause) => {
        throw new AppError("invalid", "body_not_parsable", "The arguments must be JSON.", { cause });
      });
      return Response.json(await runCommand(ctx, path.slice(PREFIX.length), args));
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.kind === "internal") ctx.log("error", "a command failed", { cause: error.cause });
      return Response.json({ ...errorBody(error), kind: error.kind }, { status: ERROR_TABLE[error.kind].status });
    }
  };
}

/**
 * Sends a command to the server that owns `dataDir`.
 * @returns its answer, or null when no server answers there
 * @throws AppError as the server threw it
 */
export async function callServer(
  dataDir: string,
  name: string,
  args: Record<string, unknown>,
): Promise<Record<string, unknown> | null> {
  const socket = readOwner(dataDir)?.adminSocket;
  if (!socket) return null;
  let answer: Response;
  try {
    answer = await fetch(`http://localhost${PREFIX}${name}`, {
      unix: socket,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(args),
    });
  } catch {
    // The socket file of a dead server remains, but nobody listens.
    return null;
  }
  const body = (await answer.json()) as Record<string, unknown> & {
    kind?: ErrorKind;
    error?: { code: string; message: string; param: string | null };
  };
  if (!answer.ok && body.error)
    throw new AppError(body.kind ?? "internal", body.error.code, body.error.message, { param: body.error.param });
  return body;
}
