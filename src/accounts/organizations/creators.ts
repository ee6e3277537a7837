/** Who created an object: the name that pages show, and `me` in filters. */
import { inArray, sql } from "drizzle-orm";
import type { Actor, Ctx } from "../../ctx.ts";
import { user } from "../../db/schema/auth.ts";

/** The names of the people and service accounts of ids; an account that was erased has none. One query. */
async function namesOf(ctx: Ctx, ids: string[]): Promise<Map<string, string>> {
  const accounts = [...new Set(ids)].filter((id) => id !== "system");
  const rows = accounts.length
    ? await ctx.db
        .select({ id: user.id, name: sql<string>`coalesce(nullif(${user.name}, ''), ${user.email})` })
        .from(user)
        .where(inArray(user.id, accounts))
    : [];
  return new Map([["system", "the server"], ...rows.map(({ id, name }): [string, string] => [id, name])]);
}

/** The name of the person or service account that created something; null for an account that was erased. */
export async function creatorName(ctx: Ctx, id: string): Promise<string | null> {
  return (await namesOf(ctx, [id])).get(id) ?? null;
}

/** The rows of a list with the names of who created them. */
export async function withCreators<T>(
  ctx: Ctx,
  rows: T[],
  creatorOf: (row: T) => string,
): Promise<(T & { creator: string | null })[]> {
  const names = await namesOf(ctx, rows.map(creatorOf));
  return rows.map((row) => ({ ...row, creator: names.get(creatorOf(row)) ?? null }));
}

/** The id that a filter by creator names: `me` is the actor. */
export const creatorId = (actor: Pick<Actor, "userId">, given: string): string =>
  given === "me" ? actor.userId : given;
