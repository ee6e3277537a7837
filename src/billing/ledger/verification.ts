/** Checks of the ledger of this installation: one at a time, with progress, and the result of the last one is kept. */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, perContext, requireAdmin } from "../../ctx.ts";
import { installation } from "../../db/schema/audit.ts";
import type { LedgerVerification } from "./model.ts";
import { type VerifyProgress, verifyLedger } from "./verify.ts";

const KEY = "billing_verification";

/** A finished check. Times in milliseconds since 1970. */
export interface Verification {
  startedAt: number;
  endedAt: number;
  checks: LedgerVerification["checks"];
}

/** The check that runs now; `failure` says why the last one did not end. */
export interface VerificationState {
  startedAt: number | null;
  progress: VerifyProgress | null;
  failure: string | null;
}
interface Running extends VerificationState {
  run: Promise<Verification> | null;
}
const stateOf = perContext((): Running => ({ startedAt: null, progress: null, failure: null, run: null }));

async function check(ctx: Ctx, state: Running): Promise<Verification> {
  const startedAt = ctx.clock.now();
  Object.assign(state, { startedAt, failure: null });
  try {
    const checks = await verifyLedger(ctx.db, (progress) => {
      state.progress = progress;
    });
    const found = { startedAt, endedAt: ctx.clock.now(), checks };
    const value = JSON.stringify(found);
    await ctx.write((tx) =>
      tx
        .insert(installation)
        .values({ key: KEY, value })
        .onConflictDoUpdate({ target: installation.key, set: { value } }),
    );
    return found;
  } catch (cause) {
    state.failure = "The checks did not end; see the server log.";
    throw cause;
  } finally {
    Object.assign(state, { startedAt: null, progress: null, run: null });
  }
}

/** Checks the ledger, or joins the check that runs; what is checked is only read. */
export function verifyNow(ctx: Ctx): Promise<Verification> {
  const state = stateOf(ctx);
  state.run ??= check(ctx, state);
  return state.run;
}

/** Starts a check in the background; nothing when one runs. Administrators only. */
export function startVerification(ctx: Ctx, actor: Actor): void {
  requireAdmin(actor);
  verifyNow(ctx).catch((cause) => {
    if (!ctx.signal.aborted) ctx.log("error", "the ledger could not be checked", { cause });
  });
}

/** The last result, null before the first one, and what runs now. Administrators only. */
export async function readVerification(
  ctx: Ctx,
  actor: Actor,
): Promise<{ last: Verification | null; state: VerificationState }> {
  requireAdmin(actor);
  const [row] = await ctx.db.select().from(installation).where(eq(installation.key, KEY)).limit(1);
  const { startedAt, progress, failure } = stateOf(ctx);
  return { last: row ? (JSON.parse(row.value) as Verification) : null, state: { startedAt, progress, failure } };
}
