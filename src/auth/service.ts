/** Accounts: who a request comes from. */
import type { Actor, Ctx } from "../ctx.ts";

/** The actor behind a request's API key or session cookie, or null. */
export async function resolveActor(_ctx: Ctx, _request: Request): Promise<Actor | null> {
  return null;
}
