/** Asks paid providers every few minutes for balance and quotas of their account, and warns of a low balance. */
import { and, eq, gt } from "drizzle-orm";
import { type Ctx, perContext } from "../../ctx.ts";
import { noticeEvent } from "../../db/schema/notices.ts";
import { startRounds } from "../../lib/background/rounds.ts";
import { type BusMessage, emitAll } from "../../lib/bus.ts";
import { DAY_MS, within } from "../../lib/clock.ts";
import { recordForAll } from "../../notices/events/store.ts";
import type { AccountState } from "./model.ts";
import { failureText, pausedProviders, readFailure } from "./pauses.ts";

const EVERY_MS = 300_000;
const FIRST_MS = 60_000;
const ANSWER_MS = 20_000;

/** The last answers by provider; asked again after a restart. */
const answersOf = perContext(() => new Map<string, AccountState>());

/** What a provider last said about its account; null when it was not asked yet. */
export const accountStateOf = (ctx: Ctx, provider: string): AccountState | null => answersOf(ctx).get(provider) ?? null;

/** Notifies administrators of a low balance, at most once a day. */
async function warn(ctx: Ctx, provider: string, title: string, balance: number): Promise<void> {
  const message = await ctx.write(async (tx): Promise<BusMessage | null> => {
    const type = "provider.balance_low";
    const since = ctx.clock.now() - DAY_MS;
    const [before] = await tx
      .select({ id: noticeEvent.id })
      .from(noticeEvent)
      .where(and(eq(noticeEvent.type, type), eq(noticeEvent.subject, provider), gt(noticeEvent.createdAt, since)))
      .limit(1);
    if (before) return null;
    const [left, least] = [balance, ctx.config.low_balance_usd].map((usd) => `$${usd.toFixed(2)}`);
    const event = {
      type,
      subject: provider,
      title: `${title} has ${left} left`,
      body: `The balance is below ${least}. When it is used up, the vendor stops the machines that run there.`,
      path: "/providers",
    } as const;
    return recordForAll(tx, ctx, { kind: "administrators" }, event);
  });
  if (message) emitAll(ctx.bus, [message]);
}

/** Asks every paid provider in use that is not paused. */
export async function checkAccounts(ctx: Ctx): Promise<void> {
  const paused = await pausedProviders(ctx.db, ctx.clock.now());
  const answers = answersOf(ctx);
  const asked = ctx.compute.list().filter(({ plugin }) => plugin.capabilities.priced);
  for (const id of answers.keys()) if (!asked.some(({ plugin }) => plugin.id === id)) answers.delete(id);
  for (const { plugin, provider } of asked) {
    if (!provider.inspect || paused.get(plugin.id)?.kind === "rate_limited") continue;
    const at = ctx.clock.now();
    try {
      const { balanceUsd, quotas, checks } = await within(ANSWER_MS, provider.inspect());
      const failed = checks.find(({ outcome }) => outcome === "failed");
      const low = balanceUsd !== null && balanceUsd < ctx.config.low_balance_usd;
      const said = {
        balance_usd: balanceUsd,
        low,
        quotas: quotas.map(({ name, region, limit, used }) => ({ name, region, limit, used })),
      };
      const before = failed && answers.get(plugin.id);
      const error = failed ? `${failed.name}: ${failed.message}`.slice(0, 500) : null;
      answers.set(plugin.id, { ...(before ?? said), checked_at: at, error });
      if (low) await warn(ctx, plugin.id, plugin.title, balanceUsd);
    } catch (error) {
      const failure = readFailure(error);
      const before = answers.get(plugin.id) ?? { balance_usd: null, low: false, quotas: [] };
      answers.set(plugin.id, { ...before, checked_at: at, error: failureText(plugin.title, failure).slice(0, 500) });
    }
  }
  ctx.bus.emit("hosts.changed", { ids: [] });
}

/**
 * Checks accounts regularly, from a minute after the start: vendors allow few requests, and offers come first.
 * @returns the function that stops it
 */
export function startAccountChecks(ctx: Ctx): () => Promise<void> {
  let stop: (() => Promise<void>) | null = null;
  const timer = setTimeout(() => {
    stop = startRounds(ctx, EVERY_MS, "accounts of providers could not be checked", () => checkAccounts(ctx));
  }, FIRST_MS);
  return async () => {
    clearTimeout(timer);
    await stop?.();
  };
}
