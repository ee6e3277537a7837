/** Group commit: batches that arrive within milliseconds share a transaction and are answered after its commit. */
import type { TrainerEvent } from "../../contract/trainer.ts";
import { type Ctx, perContext } from "../../ctx.ts";
import { AppError } from "../../errors.ts";
import { emitAll } from "../../lib/bus.ts";
import { type AttemptRef, type BatchHook, type Stored, storeEvents } from "./ingest.ts";
import { recentOf } from "./recent.ts";
import { draftOf, stateOf } from "./state.ts";

/** How long the first batch of a group waits for others, in milliseconds: about the time of one commit. */
const WINDOW_MS = 2;
/** Most values in one transaction. Readers wait while it runs. */
const MAX_WEIGHT = 5000;
/** Most waiting batches. Beyond that the server cannot keep up, and refuses more. */
const MAX_WAITING = 2000;

interface Waiting {
  who: AttemptRef;
  events: TrainerEvent[];
  hook: BatchHook;
  weight: number;
  resolve: (stored: Stored) => void;
  reject: (error: unknown) => void;
}

interface Group {
  waiting: Waiting[];
  weight: number;
  busy: boolean;
  timer: ReturnType<typeof setTimeout> | null;
}

const groupOf = perContext((): Group => ({ waiting: [], weight: 0, busy: false, timer: null }));

/** Events that must survive a power failure. Losing others only leaves a gap in a chart. */
const DECISIVE = new Set(["finished", "failed", "ready", "result", "answer", "command_done"]);

function weigh(events: TrainerEvent[]): number {
  let weight = 1;
  for (const one of events) weight += one.type === "metrics" ? Object.keys(one.values).length : 1;
  return weight;
}

/** Stores a batch. Resolves after its commit, when all listeners were notified. */
export function enqueue(ctx: Ctx, who: AttemptRef, events: TrainerEvent[], hook: BatchHook): Promise<Stored> {
  const group = groupOf(ctx);
  if (group.waiting.length >= MAX_WAITING)
    throw new AppError("unavailable", "ingest_busy", "Too many trainers report at once; try again in a moment.", {
      retryAfterS: 1,
    });
  return new Promise((resolve, reject) => {
    const weight = weigh(events);
    group.waiting.push({ who, events, hook, weight, resolve, reject });
    group.weight += weight;
    if (group.busy) return;
    if (group.weight >= MAX_WEIGHT) void flush(ctx, group);
    else group.timer ??= setTimeout(() => void flush(ctx, group), WINDOW_MS);
  });
}

function take(group: Group): Waiting[] {
  let count = 0;
  let weight = 0;
  for (const one of group.waiting) {
    if (count > 0 && weight + one.weight > MAX_WEIGHT) break;
    weight += one.weight;
    count++;
  }
  group.weight -= weight;
  return group.waiting.splice(0, count);
}

async function flush(ctx: Ctx, group: Group): Promise<void> {
  if (group.busy) return;
  if (group.timer) clearTimeout(group.timer);
  group.timer = null;
  group.busy = true;
  while (group.waiting.length > 0) {
    const members = take(group);
    if (!(await commit(ctx, members))) for (const one of members) await commit(ctx, [one]);
    // Lets waiting readers run between two transactions.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  group.busy = false;
}

/**
 * One transaction for all members. Returns false, with no member answered, when it failed and the members should be
 * tried one by one.
 */
async function commit(ctx: Ctx, members: Waiting[]): Promise<boolean> {
  const state = stateOf(ctx);
  const relaxed = !members.some((one) => one.events.some((event) => DECISIVE.has(event.type)));
  let results: (Stored | AppError)[];
  try {
    results = await ctx
      .write(
        async (tx) => {
          const draft = draftOf(state);
          const stored: (Stored | AppError)[] = [];
          for (const one of members)
            stored.push(await storeEvents(tx, draft, one.who, one.events, one.hook, ctx.clock.now()));
          return { draft, stored };
        },
        { relaxed },
      )
      .then(({ draft, stored }) => {
        draft.commit();
        return stored;
      });
  } catch (error) {
    if (members.length > 1) return false;
    members[0]?.reject(error);
    return true;
  }
  const recent = recentOf(ctx);
  for (const stored of results) if (!(stored instanceof AppError) && stored.payload) recent.push(stored.payload);
  for (const [index, stored] of results.entries()) {
    const member = members[index];
    if (stored instanceof AppError) member?.reject(stored);
    else if (member) {
      announce(ctx, member.who, stored);
      member.resolve(stored);
    }
  }
  return true;
}

function announce(ctx: Ctx, who: AttemptRef, stored: Stored): void {
  const { org, jobId } = who;
  if (stored.batchId !== null) ctx.bus.emit("job.batch", { org, jobId, batchId: stored.batchId });
  emitAll(ctx.bus, stored.messages);
}
