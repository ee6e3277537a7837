/** Assertions and requests that count once: they are kept until they would be refused for their age anyway. */
import { lt } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { ssoUsed } from "../../db/schema/sso.ts";
import { sha256Hex } from "../../lib/ids.ts";

/**
 * Uses an id.
 * @param until milliseconds since 1970 from which the id is refused for its age
 * @returns false when it was used before
 */
export async function useOnce(ctx: Ctx, provider: string, id: string, until: number): Promise<boolean> {
  return ctx.write(async (tx) => {
    await tx.delete(ssoUsed).where(lt(ssoUsed.until, ctx.clock.now()));
    const rows = await tx
      .insert(ssoUsed)
      .values({ id: sha256Hex(`${provider} ${id}`), until })
      .onConflictDoNothing()
      .returning({ id: ssoUsed.id });
    return rows.length > 0;
  });
}
