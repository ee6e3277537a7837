/**
 * Refused requests in the audit log: failed sign-ins, lock-outs, refused keys and denied permissions. One entry for
 * each source, account and minute, and a second one with the number of repetitions: a flood cannot fill the disk.
 */
import { type Actor, type Ctx, memberActor, perContext, type Source } from "../../ctx.ts";
import { networkOf } from "../../lib/net/network.ts";
import { audit } from "./service.ts";

const MINUTE_MS = 60_000;
const WINDOW_MS = 15 * MINUTE_MS;
/** New entries of one organization in a window. Further refusals are counted, and the next entry has their number. */
const MAX_ENTRIES = 100;
const MAX_AGENT = 200;

interface Refusal {
  action: "session.fail" | "session.lock" | "key.refused" | "access.denied";
  /** The account that was refused; null when there is none. */
  account: { userId: string; org: string } | null;
  /** Id of the account or key, or the path; only the first one of a minute is stored. */
  target: string;
  source: Source;
  reason: string;
  detail?: Record<string, unknown>;
}

interface Window {
  until: number;
  entries: number;
  skipped: number;
}
interface State {
  minute: number;
  /** Refusals of this minute by action, network, account and reason. */
  seen: Map<string, { first: Refusal; more: number }>;
  /** By organization. */
  windows: Map<string, Window>;
  timer: ReturnType<typeof setTimeout> | null;
}
const stateOf = perContext((): State => ({ minute: 0, seen: new Map(), windows: new Map(), timer: null }));

const actorOf = ({ account }: Refusal): Actor => memberActor(account ?? { userId: "anonymous", org: "" });

async function write(ctx: Ctx, refusal: Refusal, more: Record<string, unknown>): Promise<void> {
  const { action, target, source, reason, detail } = refusal;
  const facts = {
    ...detail,
    address: source.address,
    user_agent: source.userAgent.slice(0, MAX_AGENT),
    reason,
    ...more,
  };
  ctx.log("warn", `refused: ${action}`, { target, ...facts });
  await ctx.write((tx) => audit(tx, ctx, actorOf(refusal), action, target, facts));
}

/** Writes the numbers of repetitions; also runs by itself at the end of a minute with refusals. */
export async function flushRefusals(ctx: Ctx): Promise<void> {
  const state = stateOf(ctx);
  if (state.timer) clearTimeout(state.timer);
  state.timer = null;
  const repeated = [...state.seen.values()].filter(({ more }) => more > 0);
  state.seen = new Map();
  for (const { first, more } of repeated) await write(ctx, first, { repeated: more });
}

/** The current window of an organization; windows that are over are dropped. */
function windowOf(state: State, org: string, now: number): Window {
  const found = state.windows.get(org);
  if (found && now < found.until) return found;
  for (const [key, each] of state.windows) if (now >= each.until && each.skipped === 0) state.windows.delete(key);
  const window = { until: now + WINDOW_MS, entries: 0, skipped: found?.skipped ?? 0 };
  state.windows.set(org, window);
  return window;
}

/** Writes an entry, or counts the refusal when there is one of the same kind in this minute. */
export async function noteRefusal(ctx: Ctx, refusal: Refusal): Promise<void> {
  const state = stateOf(ctx);
  const now = ctx.clock.now();
  const minute = Math.floor(now / MINUTE_MS);
  if (minute !== state.minute) {
    state.minute = minute;
    await flushRefusals(ctx);
  }
  const { action, account, source, reason } = refusal;
  const key = JSON.stringify([action, networkOf(source.address), account?.userId ?? null, reason]);
  const same = state.seen.get(key);
  if (same) {
    same.more++;
    return;
  }
  const window = windowOf(state, account?.org ?? "", now);
  if (window.entries >= MAX_ENTRIES) {
    window.skipped++;
    return;
  }
  window.entries++;
  const { skipped } = window;
  window.skipped = 0;
  state.seen.set(key, { first: refusal, more: 0 });
  if (!state.timer) {
    state.timer = setTimeout(() => {
      flushRefusals(ctx).catch((cause) => ctx.log("warn", "refusals could not be recorded", { cause }));
    }, MINUTE_MS);
    state.timer.unref?.();
  }
  await write(ctx, refusal, skipped ? { not_recorded: skipped } : {});
}
