/** The stored token counts of versions, for lists. */
import { inArray, sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { datasetTokens } from "../../db/schema/datasets.ts";

/** Tokens by version id, with the base model they were counted with last; versions without a count are absent. */
export async function tokensOf(ctx: Ctx, versionIds: string[]): Promise<Map<string, number>> {
  if (versionIds.length === 0) return new Map();
  const rows = await ctx.db
    .select({
      versionId: datasetTokens.versionId,
      tokens: sql<number | null>`json_extract(${datasetTokens.stats}, '$.tokens')`,
    })
    .from(datasetTokens)
    .where(inArray(datasetTokens.versionId, versionIds))
    .orderBy(datasetTokens.createdAt);
  return new Map(rows.flatMap(({ versionId, tokens }) => (tokens === null ? [] : [[versionId, tokens]])));
}
