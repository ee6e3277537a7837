/** Records what the sweep found at vendors without a live attempt, until it is gone. */
import { and, eq, isNull } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { providerOrphan } from "../../db/schema/hosts.ts";

interface Orphan {
  provider: string;
  resource: string;
  key: string;
}

const is = ({ provider, resource, key }: Orphan) =>
  and(eq(providerOrphan.provider, provider), eq(providerOrphan.resource, resource), eq(providerOrphan.key, key));

/** Records one more request that an orphan should go. `error`: why that failed; null = it was accepted. */
export async function recordOrphan(ctx: Ctx, orphan: Orphan, error: string | null): Promise<number> {
  const now = ctx.clock.now();
  return ctx.write(async (tx) => {
    const [known] = await tx.select().from(providerOrphan).where(is(orphan)).limit(1);
    const foundAt = known && known.removedAt === null ? known.foundAt : now;
    const tries = (known?.tries ?? 0) + 1;
    const set = { foundAt, tries, removedAt: null, error };
    await tx
      .insert(providerOrphan)
      .values({ ...orphan, ...set })
      .onConflictDoUpdate({
        target: [providerOrphan.provider, providerOrphan.resource, providerOrphan.key],
        set,
      });
    return tries;
  });
}

/**
 * Marks orphans of a provider that are no longer listed as removed.
 * @param listed `<resource> <key>` of everything that the provider listed
 * @returns those that are gone now
 */
export async function settleOrphans(ctx: Ctx, provider: string, listed: ReadonlySet<string>): Promise<Orphan[]> {
  const open = await ctx.db
    .select()
    .from(providerOrphan)
    .where(and(eq(providerOrphan.provider, provider), isNull(providerOrphan.removedAt)));
  const gone = open.filter(({ resource, key }) => !listed.has(`${resource} ${key}`));
  if (gone.length > 0)
    await ctx.write(async (tx) => {
      for (const one of gone)
        await tx.update(providerOrphan).set({ removedAt: ctx.clock.now(), error: null }).where(is(one));
    });
  return gone;
}
