/** The notice to reviewers that cases wait: the first one at once, further ones together, at most one an hour. */
import { count, eq, inArray } from "drizzle-orm";
import { type Ctx, perContext } from "../ctx.ts";
import { sqlJson } from "../db/json.ts";
import { installation } from "../db/schema/audit.ts";
import { moderationCase } from "../db/schema/moderation.ts";
import type { Db } from "../db/types.ts";
import { workQueue } from "../lib/background/work-queue.ts";
import { recordForAll } from "../notices/events/store.ts";
import { WAITING } from "./model.ts";

const ROW = "review_notice";
/** The shortest time between two notices. */
const BETWEEN_MS = 3_600_000;

interface State {
  /** A case entered the queue since the last notice. */
  due: boolean;
  /** When the last notice was stored; 0 = never. */
  at: number;
}

async function read(db: Db): Promise<State> {
  const [row] = await db.select().from(installation).where(eq(installation.key, ROW)).limit(1);
  return row ? (JSON.parse(row.value) as State) : { due: false, at: 0 };
}

async function store(tx: Db, state: State): Promise<void> {
  const value = sqlJson(state);
  await tx
    .insert(installation)
    .values({ key: ROW, value })
    .onConflictDoUpdate({ target: installation.key, set: { value } });
}

/** Notes in the caller's transaction that a case entered the queue; `moderation.changed` sends the notice. */
export async function entersQueue(tx: Db): Promise<void> {
  const state = await read(tx);
  if (!state.due) await store(tx, { ...state, due: true });
}

/** What waits, by state: "2 new, 1 appealed". */
const PARTS: Record<(typeof WAITING)[number], string> = {
  open: "new",
  appealed: "appealed",
  second_review: "waiting for a second reviewer",
};

/** Stores the notice, for everybody who may review. Without a case that waits there is none. */
async function announce(ctx: Ctx): Promise<void> {
  const message = await ctx.write(async (tx) => {
    const rows = await tx
      .select({ state: moderationCase.state, n: count() })
      .from(moderationCase)
      .where(inArray(moderationCase.state, [...WAITING]))
      .groupBy(moderationCase.state);
    const total = rows.reduce((sum, { n }) => sum + n, 0);
    const { at } = await read(tx);
    await store(tx, { due: false, at: total > 0 ? ctx.clock.now() : at });
    if (total === 0) return null;
    const counts = new Map<string, number>(rows.map(({ state, n }) => [state, n]));
    const parts = WAITING.flatMap((state) => (counts.has(state) ? [`${counts.get(state)} ${PARTS[state]}`] : []));
    return recordForAll(
      tx,
      ctx,
      { kind: "reviewers" },
      {
        type: "review.waiting",
        subject: "review",
        title: total === 1 ? "1 case waits for review" : `${total} cases wait for review`,
        body: `In the moderation queue: ${parts.join(", ")}.`,
        path: "/review",
      },
    );
  });
  if (message) ctx.bus.emit(message.name, message.event as never);
}

/** One entry: the notice that is due, which waits until an hour has passed since the last one. */
const queueOf = perContext((ctx) =>
  workQueue<{ id: string; at: number }>(ctx, {
    what: "notices to reviewers",
    atOnce: 1,
    async next() {
      const { due, at } = await read(ctx.db);
      return due ? { id: ROW, at: at + BETWEEN_MS } : null;
    },
    async run({ at }, signal) {
      await ctx.clock.sleep(at - ctx.clock.now(), signal);
      if (!signal.aborted) await announce(ctx);
    },
  }),
);

/** Starts sending. @returns the function that stops it; a notice that is due waits in the database */
export function startReviewNotices(ctx: Ctx): () => void {
  const { kick } = queueOf(ctx);
  kick();
  return ctx.bus.on("moderation.changed", kick);
}
