/** The background work that meters what is stored and what requests used. */
import type { Ctx } from "../../ctx.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { collectRequests } from "./requests.ts";
import { collectStorage } from "./storage.ts";

const EVERY_MS = 60_000;
/** Requests wait, so that those of one hour share few rows. */
const REQUESTS_EVERY = 5;

/** Starts the rounds. @returns a function that stops them and waits for the one under way */
export function startCollecting(ctx: Ctx): () => Promise<void> {
  const safely = (what: string, work: (ctx: Ctx) => Promise<void>) =>
    work(ctx).catch((cause) => {
      if (!ctx.signal.aborted) ctx.log("error", `${what} not metered; it is tried again`, { cause });
    });
  let rounds = 0;
  const round = async () => {
    await safely("storage", collectStorage);
    if (rounds++ % REQUESTS_EVERY === 0) await safely("requests", collectRequests);
  };
  return startRounds(ctx, EVERY_MS, "use not metered", round);
}
