/** Sessions of browsers: who a signed cookie belongs to. */
import type { Actor, Ctx } from "../ctx.ts";

/** The actor behind the session cookie, or null. */
export async function actorOfCookie(_ctx: Ctx, _request: Request): Promise<Actor | null> {
  return null;
}
