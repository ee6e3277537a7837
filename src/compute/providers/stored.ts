/** Settings of bundled providers that administrators made in the page, as they are stored: all but the secrets. */
import { like } from "drizzle-orm";
import * as v from "valibot";
import { installation } from "../../db/schema/audit.ts";
import type { Db } from "../../db/types.ts";

const PREFIX = "provider.";

const Stored = v.object({
  /** In use although the configuration does not name it; null = nobody decided. */
  enabled: v.nullable(v.boolean()),
  values: v.record(v.string(), v.union([v.string(), v.number(), v.boolean()])),
});
export type StoredProvider = v.InferOutput<typeof Stored>;

/** What is stored for a provider of which nothing is stored. */
export const NOTHING_STORED: StoredProvider = { enabled: null, values: {} };

/** The stored settings by id of the provider. */
export async function loadStoredProviders(db: Db): Promise<Map<string, StoredProvider>> {
  const rows = await db
    .select()
    .from(installation)
    .where(like(installation.key, `${PREFIX}%`));
  return new Map(rows.map(({ key, value }) => [key.slice(PREFIX.length), v.parse(Stored, JSON.parse(value))]));
}

/** Replaces the stored settings of a provider in the caller's transaction. */
export async function storeProvider(tx: Db, id: string, stored: StoredProvider): Promise<void> {
  const value = JSON.stringify(stored);
  await tx
    .insert(installation)
    .values({ key: PREFIX + id, value })
    .onConflictDoUpdate({ target: installation.key, set: { value } });
}
