/** Seeded use of an installation: the ledger of finished work, and a day of requests to an endpoint. */
import type { Actor, Ctx } from "../../src/ctx.ts";
import { usageLine } from "../../src/db/schema/billing.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { HOUR, idOf, type JobRow, MINUTE } from "./seed-rows.ts";
import { rng } from "./seed-run.ts";

/** One line for each finished job, every third on a rented card. */
export async function addUsage(ctx: Ctx, actor: Actor, jobs: JobRow[]): Promise<void> {
  await ctx.write((tx) =>
    tx.insert(usageLine).values(
      jobs.map((row, n) => {
        const durationMs = (4 + (n % 9)) * MINUTE;
        const pricePerHour = n % 3 ? 0 : 2.49;
        return {
          id: `use_seed${n}`,
          org: actor.org,
          jobId: row.id,
          attemptId: `att_${row.id}1`,
          userId: actor.userId,
          kind: "train",
          provider: pricePerHour ? "docker" : "process",
          gpus: pricePerHour ? 1 : 0,
          durationMs,
          tokens: 61_240,
          pricePerHour,
          costUsd: (pricePerHour * durationMs) / HOUR,
          at: row.createdAt,
        };
      }),
    ),
  );
}

/** Requests of the last hour and day to the first seeded deployment: mostly quick, some slow, a few refused. */
export async function addRequests(ctx: Ctx, actor: Actor, model: string): Promise<void> {
  const now = ctx.clock.now();
  const random = rng(21);
  const rows = Array.from({ length: 420 }, (_, n) => {
    const slow = random() < 0.06 ? 6 : 1;
    const firstTokenMs = slow * (90 + 160 * random());
    const completionTokens = Math.round(14 + 30 * random());
    return {
      id: `inf_seed${n}`,
      org: actor.org,
      userId: actor.userId,
      keyId: null,
      model,
      deploymentId: idOf("dep_", 0),
      at: now - Math.round((n < 260 ? HOUR : 20 * HOUR) * random()),
      status: random() < 0.02 ? 503 : 200,
      streamed: n % 2 === 0,
      promptTokens: 48,
      completionTokens,
      firstTokenMs,
      totalMs: firstTokenMs + completionTokens * 28,
      overheadMs: 0.4 + random(),
      finish: "stop",
    };
  });
  for (let from = 0; from < rows.length; from += 100)
    await ctx.write((tx) => tx.insert(inference).values(rows.slice(from, from + 100)));
}
