/** First contact of trainers on other machines: since when a machine runs, and whether its trainer has called home. */
import { and, eq, isNull, sql } from "drizzle-orm";
import type { WorkStatus } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { AttemptRow } from "../jobs/model.ts";
import { PROVISION_MS } from "./tokens.ts";

/** Whether the work of an attempt runs on another machine than the server. */
export function isElsewhere(ctx: Ctx, { provider, offer }: Pick<AttemptRow, "provider" | "offer">): boolean {
  return !(offer.local ?? ctx.compute.get(provider)?.plugin.capabilities.local ?? false);
}

/**
 * Since when an attempt is charged; null = it has not started. A rented machine costs money from its launch on, also
 * when the server stopped before it stored that.
 */
export const startOf = (ctx: Ctx, which: AttemptRow): number | null =>
  which.startedAt ?? (isElsewhere(ctx, which) ? which.createdAt : null);

/**
 * Notes when a machine begins to run. The vendor's time counts only where it is plausible by the clock of this server.
 * The bootstrap token is then valid for as long as the trainer may take to call.
 */
async function runningSince(ctx: Ctx, which: AttemptRow, status: WorkStatus): Promise<number | null> {
  if (which.runningAt !== null || status.state !== "running") return which.runningAt;
  const now = ctx.clock.now();
  const runningAt = Math.min(now, Math.max(status.startedAt ?? now, which.createdAt));
  await ctx.write((tx) =>
    tx
      .update(attempt)
      .set({ runningAt, bootstrapUntil: now + ctx.config.first_contact_s * 1000 })
      .where(and(eq(attempt.id, which.id), isNull(attempt.runningAt))),
  );
  return runningAt;
}

/** `made`: the trainer called, or runs on this machine. `late`: it did not call in time. */
export type Contact = "made" | "waiting" | "late";

/** Whether the trainer of a running attempt has called home. */
export async function contactOf(ctx: Ctx, which: AttemptRow, status: WorkStatus): Promise<Contact> {
  if (which.contactAt !== null || which.lastSeq > 0 || !isElsewhere(ctx, which)) return "made";
  const since = await runningSince(ctx, which, status);
  const until =
    since === null
      ? which.createdAt + which.offer.startsInS * 1000 + PROVISION_MS
      : since + ctx.config.first_contact_s * 1000;
  return ctx.clock.now() > until ? "late" : "waiting";
}

/**
 * Whether the trainer of an attempt called within the last `ms`: evidence that its machine is there.
 * @param since a trainer that has ever called could not call before then
 */
export function heardWithin(ctx: Ctx, { contactAt, heartbeatAt }: AttemptRow, since: number, ms: number): boolean {
  if (contactAt === null && heartbeatAt === null) return false;
  return ctx.clock.now() - Math.max(contactAt ?? 0, heartbeatAt ?? 0, since) < ms;
}

/** Why an attempt that never called has ended, for people. */
export function lateMessage(ctx: Ctx, { runningAt }: AttemptRow, status: WorkStatus): string {
  return runningAt === null && status.state !== "running"
    ? "The machine did not begin to run in time."
    : `The machine runs, but its trainer did not call home within ${ctx.config.first_contact_s} seconds.`;
}

/** How often a job's trainers never called, and at which offers. */
export async function neverCalled(ctx: Ctx, jobId: string): Promise<{ provider: string; offer: string }[]> {
  return ctx.db
    .select({ provider: attempt.provider, offer: sql<string>`json_extract(${attempt.offer}, '$.id')` })
    .from(attempt)
    .where(and(eq(attempt.jobId, jobId), eq(attempt.outcome, "never_called_home")));
}
