/**
 * The orphan sweep: what providers hold for this installation without a live attempt is terminated, again and again
 * until it is no longer listed, and recorded for administrators.
 */
import { eq } from "drizzle-orm";
import { reconcileAllocations } from "../../compute/hosts/allocations.ts";
import { recordOrphan, settleOrphans } from "../../compute/limits/orphans.ts";
import { readFailure } from "../../compute/limits/pauses.ts";
import { endOrphan, reconcileMachines } from "../../compute/machines/record.ts";
import type { Handle, OwnedWork, Provider, ProviderPlugin } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { noteFailure } from "./candidates.ts";

const GRACE_S = 20;

/** When work without a live attempt was first seen, by provider, kind of resource and key; lost in a restart. */
type Seen = Map<string, number>;

const attemptIdOf = (handle: Handle) => handle.key.replace(/^att-/, "att_");
const resourceOf = (work: OwnedWork) => work.resource ?? "machine";

/** Whether the attempt of a key still needs what the provider holds: it is there and not over. */
async function isLive(ctx: Ctx, attemptId: string): Promise<boolean> {
  const [row] = await ctx.db.select({ goneAt: attempt.goneAt }).from(attempt).where(eq(attempt.id, attemptId)).limit(1);
  return row !== undefined && row.goneAt === null;
}

/**
 * Whether work belongs to another provider of this installation, which has the same account at the vendor: by its
 * label, else by its attempt. The other one sees to it.
 */
async function isOfAnother(ctx: Ctx, provider: string, work: OwnedWork): Promise<boolean> {
  const { provider: labeled } = work.labels;
  if (labeled !== undefined) return labeled !== provider;
  const id = attemptIdOf(work.handle);
  const [row] = await ctx.db.select({ provider: attempt.provider }).from(attempt).where(eq(attempt.id, id)).limit(1);
  return row !== undefined && row.provider !== provider;
}

async function terminate(ctx: Ctx, plugin: ProviderPlugin, provider: Provider, work: OwnedWork): Promise<void> {
  const { key } = work.handle;
  const orphan = { provider: plugin.id, resource: resourceOf(work), key };
  let error: string | null = null;
  try {
    const { gone } = await provider.terminate(work.handle, { graceS: GRACE_S });
    if (gone) await endOrphan(ctx, plugin.id, key);
  } catch (cause) {
    const failure = readFailure(cause);
    error = failure.message.slice(0, 500);
    await noteFailure(ctx, plugin.id, "terminate", failure);
  }
  const tries = await recordOrphan(ctx, orphan, error);
  ctx.log("warn", "terminating orphaned work", { ...orphan, tries, error });
}

/**
 * Compares what providers hold with the database. Work that is labeled with this installation but belongs to no live
 * attempt (a lost row, an old backup, a delete that had no effect) is terminated after a grace period. The table of GPU
 * allocations follows the labels of live work. Work of an unreachable provider keeps the time it was first seen.
 */
export async function sweepOrphans(ctx: Ctx, seen: Seen, graceMs: number): Promise<void> {
  const now = ctx.clock.monotonic();
  const living: { attemptId: string; gpus: readonly string[] }[] = [];
  for (const { plugin, provider } of ctx.compute.list()) {
    try {
      const asOf = ctx.clock.now();
      const owned: OwnedWork[] = [];
      for (const work of await provider.listOwned(ctx.installation))
        if (!work.shared && !(await isOfAnother(ctx, plugin.id, work))) owned.push(work);
      if (plugin.capabilities.priced) await reconcileMachines(ctx, plugin.id, owned, asOf);
      const listed = new Set(owned.map((work) => `${resourceOf(work)} ${work.handle.key}`));
      const mine = `${plugin.id} `;
      for (const known of seen.keys())
        if (known.startsWith(mine) && !listed.has(known.slice(mine.length))) seen.delete(known);
      for (const one of await settleOrphans(ctx, plugin.id, listed))
        ctx.log("info", "orphaned work is gone", { ...one });
      for (const work of owned) {
        const attemptId = attemptIdOf(work.handle);
        if (await isLive(ctx, attemptId)) {
          if (resourceOf(work) === "machine") living.push({ attemptId, gpus: work.gpus ?? [] });
          continue;
        }
        const id = `${mine}${resourceOf(work)} ${work.handle.key}`;
        const since = seen.get(id) ?? now;
        seen.set(id, since);
        if (now - since >= graceMs) await terminate(ctx, plugin, provider, work);
      }
    } catch (cause) {
      // Work of an unreachable provider is left alone; the other providers are swept anyway.
      if (ctx.signal.aborted) continue;
      ctx.log("warn", "could not sweep a provider for orphaned work", { provider: plugin.id, cause });
      await noteFailure(ctx, plugin.id, "sweep", readFailure(cause));
    }
  }
  const { entered } = await reconcileAllocations(ctx, living);
  if (entered > 0)
    ctx.log("warn", "added GPUs in use that were missing in the table of allocations", { gpus: entered });
}
