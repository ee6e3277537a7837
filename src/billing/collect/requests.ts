/** Counts the tokens of requests to models, by who sent them, model and hour; each request exactly once. */
import { sql } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import type { Db } from "../../db/types.ts";
import { recordUse, type Use } from "../ledger/record.ts";
import { cursorOf, moveCursor } from "./cursors.ts";

const HOUR_MS = 3_600_000;
/** Requests of one transaction: the writer is busy for some milliseconds. */
const PIECE = 5000;

interface Group {
  first: number;
  org: string;
  userId: string;
  keyId: string | null;
  model: string;
  deploymentId: string | null;
  purpose: "grade" | "evaluate" | null;
  from: number;
  to: number;
  input: number;
  output: number;
}

const groupsOf = (db: Db, after: number, last: number) =>
  db.all<Group>(sql`select min(n) as "first", org, user_id as "userId", key_id as "keyId", model,
    deployment_id as "deploymentId", purpose, min(at) as "from", max(at) + 1 as "to", sum(prompt_tokens) as "input",
    sum(completion_tokens) as "output" from inference where n > ${after} and n <= ${last}
    group by org, user_id, key_id, model, deployment_id, purpose, at / ${HOUR_MS} order by 1`);

/** Requests before the first call are not metered: they are from a version that charged nothing for them. */
async function begin(tx: Db): Promise<number> {
  const [row] = await tx.all<{ last: number }>(sql`select coalesce(max(n), 0) as last from inference`);
  const last = row?.last ?? 0;
  await moveCursor(tx, "requests_from", last);
  await moveCursor(tx, "requests", last);
  return last;
}

async function collectPiece(ctx: Ctx): Promise<boolean> {
  return ctx.write(async (tx) => {
    const after = (await cursorOf(tx, "requests")) ?? (await begin(tx));
    const [end] = await tx.all<{ last: number | null; count: number }>(
      sql`select max(n) as last, count(*) as count from (select n from inference where n > ${after} order by n limit ${PIECE})`,
    );
    if (!end || end.last === null) return false;
    for (const group of await groupsOf(tx, after, end.last)) {
      const { first, purpose, input, output, ...of } = group;
      const shared: Omit<Use, "source" | "meter" | "quantity"> = {
        ...of,
        model: of.model || null,
        kind: purpose ?? "inference",
        jobId: null,
        attemptId: null,
        sweepId: null,
        provider: null,
        gpuModel: null,
        free: null,
        costMicros: null,
      };
      const now = ctx.clock.now();
      for (const [meter, quantity] of [
        ["input_tokens", input],
        ["output_tokens", output],
      ] as const)
        if (quantity > 0)
          await recordUse(tx, now, { ...shared, source: `requests ${first} ${meter}`, meter, quantity });
    }
    ctx.failPoint("meter.requests");
    await moveCursor(tx, "requests", end.last);
    return end.count === PIECE;
  });
}

/** Counts the requests since the last call. The position moves in the transaction that stores the sums. */
export async function collectRequests(ctx: Ctx): Promise<void> {
  while (await collectPiece(ctx));
}
