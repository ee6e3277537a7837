/** Errors of providers: the newest ones for people, and pauses of providers that must not be asked again for now. */
import { and, desc, eq, gt, sql } from "drizzle-orm";
import type { ProviderErrorKind } from "../../contract/provider.ts";
import type { Ctx } from "../../ctx.ts";
import { providerError, providerPause } from "../../db/schema/hosts.ts";
import type { Db } from "../../db/types.ts";
import type { BusMessage } from "../../lib/bus.ts";
import { recordForAll } from "../../notices/events/store.ts";
import { isProviderFailure } from "../providers/host.ts";
import { titleOf } from "./service.ts";

/** A provider that refused its key or its quota is asked again after this time, if nothing else changes. */
const REFUSED_MS = 6 * 3_600_000;
/** For a rate limit without a delay of its own. */
const RATE_MS = 30_000;
const KEPT = 20;

/** A failure of a provider, read from whatever it threw. */
export interface Failure {
  kind: ProviderErrorKind;
  message: string;
  retryAfterMs: number | null;
  vendorCode: string | null;
  /** The host's own code for the problem, when the provider named one. */
  reason: string | null;
}

/** The failure in an exception. One that is not of the contract is `fatal`. */
export function readFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  if (!isProviderFailure(error)) return { kind: "fatal", message, retryAfterMs: null, vendorCode: null, reason: null };
  const { providerErrorKind: kind, retryAfterS, vendorCode, reason } = error;
  return { kind, message, retryAfterMs: retryAfterS === null ? null : retryAfterS * 1000, vendorCode, reason };
}

/** A failure in one sentence for people, with the vendor's code. */
export const failureText = (title: string, { message, vendorCode }: Failure): string =>
  `${title}: ${message}${vendorCode ? ` (${vendorCode})` : ""}`;

type PauseRow = typeof providerPause.$inferSelect;

/** Providers that are not asked now, by id. */
export async function pausedProviders(db: Db, now: number): Promise<ReadonlyMap<string, PauseRow>> {
  const rows = await db.select().from(providerPause).where(gt(providerPause.until, now));
  return new Map(rows.map((row) => [row.provider, row]));
}

/** Why a paused provider is not asked, in words. */
export const pauseText = (title: string, pause: PauseRow): string =>
  `${title}: ${pause.message}${pause.vendorCode ? ` (${pause.vendorCode})` : ""}${
    pause.kind === "rate_limited" ? "" : ". An administrator has to see to it on the page Providers"
  }`;

async function addError(tx: Db, now: number, provider: string, request: string, failure: Failure): Promise<void> {
  const { kind, vendorCode } = failure;
  const message = failure.message.slice(0, 1000);
  const [last] = await tx
    .select()
    .from(providerError)
    .where(eq(providerError.provider, provider))
    .orderBy(desc(providerError.n))
    .limit(1);
  if (last && last.request === request && last.kind === kind && last.message === message) {
    await tx
      .update(providerError)
      .set({ times: last.times + 1, at: now })
      .where(eq(providerError.n, last.n));
    return;
  }
  const [added] = await tx
    .insert(providerError)
    .values({ provider, request, kind, message, vendorCode, at: now })
    .returning({ n: providerError.n });
  const kept = tx
    .select({ n: providerError.n })
    .from(providerError)
    .where(eq(providerError.provider, provider))
    .orderBy(desc(providerError.n))
    .limit(KEPT);
  if (added) await tx.delete(providerError).where(and(eq(providerError.provider, provider), sql`n not in ${kept}`));
}

/**
 * Records a failure in the caller's transaction. A refused key or quota pauses the provider and is reported to
 * administrators once; a rate limit pauses it for as long as the vendor says.
 * @param request what was asked: `offers`, `launch`, `describe`, `terminate` or `sweep`
 * @returns messages to emit after the commit
 */
export async function recordFailure(
  tx: Db,
  ctx: Ctx,
  provider: string,
  request: string,
  failure: Failure,
): Promise<BusMessage[]> {
  const now = ctx.clock.now();
  await addError(tx, now, provider, request, failure);
  const { kind, vendorCode, retryAfterMs } = failure;
  const refused = kind === "auth" || kind === "quota";
  if (!refused && kind !== "rate_limited") return [];
  const [before] = await tx.select().from(providerPause).where(eq(providerPause.provider, provider)).limit(1);
  const until = now + (refused ? REFUSED_MS : (retryAfterMs ?? RATE_MS));
  // A rate limit does not shorten the pause of a provider that refuses everything.
  if (before && before.until > until) return [];
  const same = before !== undefined && before.kind === kind;
  const pause = { kind, message: failure.message.slice(0, 1000), vendorCode, since: same ? before.since : now, until };
  await tx
    .insert(providerPause)
    .values({ provider, ...pause })
    .onConflictDoUpdate({ target: providerPause.provider, set: pause });
  if (!refused || same) return [];
  const title = titleOf(ctx, provider);
  const what = kind === "auth" ? "refuses the credentials" : "refuses more machines";
  return [
    await recordForAll(
      tx,
      ctx,
      { kind: "administrators" },
      {
        type: "provider.refused",
        subject: provider,
        title: `${title} ${what}`,
        body: `${failureText(title, failure)}\nJobs do not start there until its settings change or a test of it passes.`,
        path: "/providers",
      },
    ),
  ];
}

/** Ends the pause of a provider: its settings changed, or a test passed. */
export async function endPause(tx: Db, provider: string): Promise<void> {
  await tx.delete(providerPause).where(eq(providerPause.provider, provider));
}
