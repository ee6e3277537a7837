/** When the scheduler last finished a round, for the status page. */
import { type Ctx, perContext } from "../../ctx.ts";

const roundOf = perContext((ctx) => ({ at: ctx.clock.now() }));

/** Notes a finished round. */
export function noteRound(ctx: Ctx): void {
  roundOf(ctx).at = ctx.clock.now();
}

/** Milliseconds since 1970 of the last finished round; the first question counts as one. */
export const lastRound = (ctx: Ctx): number => roundOf(ctx).at;
