/**
 * Looks into the mailbox: one list of the bucket covers all attempts. Requests are answered, addresses renewed before
 * they expire, and what attempts that are over left is removed. The bucket alone holds its state.
 */
import { inArray, ne } from "drizzle-orm";
import {
  ADDRESSES_S,
  addressesKey,
  LANES,
  MAILBOX,
  MAILBOX_BASES,
  usesMailbox,
  writeAddresses,
} from "../../compute/providers/mailbox.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { StoredItem } from "../../lib/objects/store.ts";
import { isElsewhere } from "../attempts/first-contact.ts";
import { answerRequest, type Handle, type Incoming, soon } from "./exchange.ts";

/** Objects of an attempt that is over stay this long: its trainer still reads the last answers. */
const OVER_MS = 120_000;
/** Without a request for this long, looks are rarer. */
const QUIET_MS = 60_000;
const QUIET_TIMES = 4;
/** Between two looks while no trainer works elsewhere, and after a bucket that did not answer. */
const IDLE_MS = 60_000;
const FAILED_MS = 5000;
/** Files of base models that no trainer needs now are removed after this time. */
const BASES_MS = 7 * 86_400_000;
const BASES_EVERY_MS = 3_600_000;
/** Requests in work at the same time: of all trainers, and of one. */
const AT_ONCE = 16;
const AT_ONCE_EACH = 4;
/** Most objects that one look considers. */
const MAX_LISTED = 50_000;

const REQUEST = /^mailbox\/([A-Za-z0-9_-]{1,100})\/in\/(boot|(\d{1,2})-[01])$/;

/** The request that an object is; null for other objects. */
function incomingOf({ key, bytes }: StoredItem): Incoming | null {
  const [, attemptId, name, lane] = REQUEST.exec(key) ?? [];
  if (!attemptId || !name || (lane !== undefined && Number(lane) >= LANES)) return null;
  return { key, bytes, attemptId, name };
}

const attemptOfKey = (key: string) => key.split("/")[1] ?? "";

interface Mailbox {
  ctx: Ctx;
  handle: Handle;
  /** Lanes in work: attempt and lane. A lane has one request at a time. */
  busy: Map<string, Promise<void>>;
  lastRequest: number;
  lastBases: number;
  failing: boolean;
}

const laneOf = ({ attemptId, name }: Incoming) => `${attemptId}/${name.split("-")[0]}`;

/** Starts the answers of requests whose lanes are free. */
function answerAll(box: Mailbox, incoming: Incoming[]): void {
  const { ctx, busy } = box;
  for (const one of incoming) {
    const lane = laneOf(one);
    const own = [...busy.keys()].filter((key) => key.startsWith(`${one.attemptId}/`)).length;
    if (busy.has(lane) || busy.size >= AT_ONCE || own >= AT_ONCE_EACH) continue;
    const work = answerRequest(ctx, box.handle, one)
      .then((answered) => {
        if (answered) box.lastRequest = ctx.clock.monotonic();
      })
      .catch((cause) => {
        if (!ctx.signal.aborted)
          ctx.log("warn", "a request in the mailbox was not answered; it is tried again", {
            attempt: one.attemptId,
            cause,
          });
      })
      .finally(() => busy.delete(lane));
    busy.set(lane, work);
  }
}

/** Of `ids`, the attempts that are not over. */
async function liveOf({ db }: Ctx, ids: string[]): Promise<Set<string>> {
  const live = new Set<string>();
  for (let at = 0; at < ids.length; at += 500) {
    const rows = await db
      .select({ id: attempt.id, state: attempt.state })
      .from(attempt)
      .where(inArray(attempt.id, ids.slice(at, at + 500)));
    for (const { id, state } of rows) if (state !== "ended") live.add(id);
  }
  return live;
}

/** Removes what attempts that are over left, and renews the addresses of the others. */
async function keepOrder({ ctx }: Mailbox, items: StoredItem[], live: ReadonlySet<string>): Promise<void> {
  const now = ctx.clock.now();
  const left = items.filter(({ key, modifiedAt }) => !live.has(attemptOfKey(key)) && modifiedAt < now - OVER_MS);
  if (left.length > 0) await ctx.bucket?.remove(left.map(({ key }) => key));
  for (const { key, modifiedAt } of items) {
    const id = attemptOfKey(key);
    if (key === addressesKey(id) && live.has(id) && modifiedAt < now - ADDRESSES_S * 500) await writeAddresses(ctx, id);
  }
}

/** Removes files of base models that were not needed for a week. */
async function dropBases(box: Mailbox): Promise<void> {
  const { ctx } = box;
  const now = ctx.clock.now();
  if (!ctx.bucket || now - box.lastBases < BASES_EVERY_MS) return;
  box.lastBases = now;
  const old: string[] = [];
  for await (const { key, modifiedAt } of ctx.bucket.list(MAILBOX_BASES))
    if (modifiedAt < now - BASES_MS) old.push(key);
  if (old.length > 0) await ctx.bucket.remove(old);
}

/** One look. @returns whether the mailbox has objects, and whether trainers use it now */
async function look(box: Mailbox): Promise<{ some: boolean; live: boolean }> {
  const { ctx } = box;
  const items: StoredItem[] = [];
  for await (const item of ctx.bucket?.list(MAILBOX, soon(ctx)) ?? []) {
    items.push(item);
    if (items.length >= MAX_LISTED) break;
  }
  const live = await liveOf(ctx, [...new Set(items.map(({ key }) => attemptOfKey(key)))]);
  answerAll(
    box,
    items.flatMap((item) => incomingOf(item) ?? []),
  );
  await keepOrder(box, items, live);
  return { some: items.length > 0, live: live.size > 0 };
}

/** Whether an attempt that is not over runs on another machine. */
async function hasElsewhere(ctx: Ctx): Promise<boolean> {
  const rows = await ctx.db
    .select({ provider: attempt.provider, offer: attempt.offer })
    .from(attempt)
    .where(ne(attempt.state, "ended"));
  return rows.some((row) => isElsewhere(ctx, row));
}

/** Looks once. @returns how long to wait until the next look, in milliseconds; null when none is needed */
async function round(box: Mailbox): Promise<number | null> {
  const { ctx } = box;
  try {
    const { some, live } = await look(box);
    const works = await hasElsewhere(ctx);
    if (!works) await dropBases(box);
    box.failing = false;
    // Attempts that were launched with the mailbox keep it when the setting changes.
    if (!usesMailbox(ctx) && !some) return null;
    if (!works && !live) return IDLE_MS;
    const { mailbox_poll_ms: every } = ctx.config;
    return ctx.clock.monotonic() - box.lastRequest < QUIET_MS ? every : every * QUIET_TIMES;
  } catch (cause) {
    if (!box.failing && !ctx.signal.aborted)
      ctx.log("error", "the mailbox of trainers elsewhere cannot be read; it is tried again", { cause });
    box.failing = true;
    return FAILED_MS;
  }
}

/**
 * Answers the mailbox until the returned function is called.
 * @param handle the HTTP application, which answers its requests like all others
 */
export function startMailbox(ctx: Ctx, handle: Handle): () => Promise<void> {
  if (!ctx.bucket) return async () => {};
  const stop = new AbortController();
  const box: Mailbox = {
    ctx,
    handle,
    busy: new Map(),
    lastRequest: ctx.clock.monotonic(),
    lastBases: 0,
    failing: false,
  };
  // An attempt begins: the next look is not in a minute.
  let changed = new AbortController();
  const stopWatching = ctx.bus.on("job.changed", () => changed.abort());
  const running = (async () => {
    while (!stop.signal.aborted) {
      changed = new AbortController();
      const wait = await round(box);
      if (wait === null) return;
      const ends = wait < IDLE_MS ? [stop.signal] : [stop.signal, changed.signal];
      await ctx.clock.sleep(wait, AbortSignal.any(ends));
    }
  })();
  return async () => {
    stopWatching();
    stop.abort();
    await running;
    await Promise.allSettled([...box.busy.values()]);
  };
}
