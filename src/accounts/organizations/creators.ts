/** What the creators of objects are called on pages. */
import { eq, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";

/** The name of the person or service account that created something; null for an account that was erased. */
export async function creatorName(ctx: Ctx, id: string): Promise<string | null> {
  if (id === "system") return "the server";
  const [row] = await ctx.db
    .select({ name: sql<string>`coalesce(nullif(${user.name}, ''), ${user.email})` })
    .from(user)
    .where(eq(user.id, id))
    .limit(1);
  return row?.name ?? null;
}
