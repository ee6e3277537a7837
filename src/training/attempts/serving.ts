/**
 * The attempt behind a serve job, for deployments: where it was launched, and how to end it when it reports an address
 * elsewhere.
 */
import { eq } from "drizzle-orm";
import type { ServingPlace } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import { emitAll } from "../../lib/bus.ts";
import { attemptFailed, jobIn, newestAttempt } from "../jobs/transitions.ts";

/** The attempt of a serve job, and where its provider says it may receive requests. */
export interface ServingAttempt {
  id: string;
  /** It runs on this machine: it listens on a Unix socket and reads local paths. */
  local: boolean;
  provider: string;
  place: ServingPlace | null;
}

/**
 * The running attempt of a serve job with its place; null while its launch is not recorded yet, or when it has ended.
 * @throws what the provider's `describe` throws
 */
export async function servingAttempt(ctx: Ctx, jobId: string): Promise<ServingAttempt | null> {
  const which = await newestAttempt(ctx.db, jobId);
  const entry = which && ctx.compute.get(which.provider);
  if (!which?.handle || which.state === "ended" || !entry) return null;
  const { handle, offer } = which;
  const place = handle.serving ?? (await entry.provider.describe(handle)).serving ?? null;
  return {
    id: which.id,
    local: offer.local ?? entry.plugin.capabilities.local,
    provider: entry.plugin.title,
    place,
  };
}

/** Ends an attempt that announced an address outside its place. `why`: a complete sentence for users. */
export async function refuseAddress(ctx: Ctx, attemptId: string, why: string): Promise<void> {
  const messages = await ctx.write(async (tx) => {
    const [which] = await tx.select().from(attempt).where(eq(attempt.id, attemptId)).limit(1);
    const row = which && (await jobIn(tx, which.jobId));
    if (!which || !row) return [];
    return attemptFailed(tx, ctx, row, which, { reason: "engine_address", message: why, retry: false });
  });
  emitAll(ctx.bus, messages);
}
