/** Seeded use of an installation: the ledger of finished work, and a day of requests to an endpoint. */
import { recordUse } from "../../src/billing/ledger/record.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { inference } from "../../src/db/schema/gateway.ts";
import { HOUR, idOf, type JobRow, MINUTE } from "./seed-rows.ts";
import { rng } from "./seed-run.ts";

/** The use of each finished job, every third on a rented card. */
export async function addUsage(ctx: Ctx, actor: Actor, jobs: JobRow[]): Promise<void> {
  await ctx.write(async (tx) => {
    for (const [n, row] of jobs.entries()) {
      const seconds = ((4 + (n % 9)) * MINUTE) / 1000;
      const rented = n % 3 === 0;
      const attemptId = `att_${row.id}1`;
      const from = Math.floor(row.createdAt / HOUR) * HOUR;
      const use = {
        org: actor.org,
        userId: actor.userId,
        keyId: null,
        kind: "train" as const,
        jobId: row.id ?? null,
        attemptId,
        deploymentId: null,
        sweepId: null,
        model: row.spec.base_model.id,
        provider: rented ? "docker" : "process",
        gpuModel: rented ? "NVIDIA H100 80GB HBM3" : null,
        from,
        to: from + seconds * 1000,
        free: null,
      };
      const meter = rented ? ("gpu_seconds" as const) : ("cpu_seconds" as const);
      const costMicros = rented ? 2_490_000 : null;
      await recordUse(tx, from, { ...use, source: `${attemptId} ${meter} 0`, meter, quantity: seconds, costMicros });
      const tokens = { meter: "training_tokens" as const, quantity: 61_240, costMicros: null };
      await recordUse(tx, from, { ...use, ...tokens, source: `${attemptId} training_tokens 0` });
    }
  });
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
