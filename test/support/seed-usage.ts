/** Seeded use of an installation: two months of metered use, finished work, and a day of requests. */
import { eq } from "drizzle-orm";
import { recordUse, type Use } from "../../src/billing/ledger/record.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { member } from "../../src/db/schema/auth.ts";
import { priceList } from "../../src/db/schema/billing.ts";
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

const DAY = 24 * HOUR;
const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };
const PRICES = {
  items: [
    { ...item, meter: "gpu_seconds", unit_micros: 2_490_000 },
    { ...item, meter: "gpu_seconds", gpu_model: "A10", unit_micros: 750_000 },
    { ...item, meter: "byte_hours", unit_micros: 80_000 },
    { ...item, meter: "input_tokens", unit_micros: 400_000 },
    { ...item, meter: "output_tokens", unit_micros: 1_600_000 },
  ],
  free: [],
};

/** Metered use of the last 50 days: training, an endpoint, stored data and requests, by everybody in the team. */
export async function addMetered(ctx: Ctx, actor: Actor, jobs: JobRow[]): Promise<void> {
  const now = ctx.clock.now();
  const today = Math.floor(now / DAY) * DAY;
  const random = rng(17);
  const people = await ctx.db.select({ id: member.userId }).from(member).where(eq(member.organizationId, actor.org));
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T;
  const base = {
    org: actor.org,
    keyId: null,
    jobId: null,
    attemptId: null,
    deploymentId: null,
    sweepId: null,
    free: null,
  };
  const uses: Use[] = [];
  const use = (
    from: number,
    more: Omit<Use, keyof typeof base | "source" | "from" | "to" | "costMicros"> & Partial<Use>,
  ) => uses.push({ ...base, source: `seed ${uses.length}`, from, to: from + HOUR, costMicros: null, ...more });
  for (let day = today - 50 * DAY; day <= today; day += DAY) {
    const work = new Date(day).getUTCDay() % 6 === 0 ? 0.3 : 1;
    for (let n = 0; n < 6 * work; n++) {
      const row = pick(jobs);
      const rented = random() < 0.3;
      const where = { provider: rented ? "runpod" : "docker", gpuModel: rented ? "A10" : "H100", model: pick(MODELS) };
      const from = day + Math.floor(random() * 20) * HOUR;
      const of = { userId: pick(people).id, jobId: row.id, kind: "train" as const, ...where };
      use(from, { ...of, meter: "gpu_seconds", quantity: Math.round(600 + 3000 * random()) });
      use(from, { ...of, meter: "gpu_seconds", quantity: Math.round(240 * random()), free: "loading" });
      use(from, { ...of, meter: "training_tokens", quantity: Math.round(2_000_000 * random()) });
    }
    const none = { provider: null, gpuModel: null };
    const asked = { userId: pick(people).id, kind: "inference" as const, model: pick(MODELS), ...none };
    use(day + 9 * HOUR, { ...asked, meter: "input_tokens", quantity: Math.round(9_000_000 * work * random()) });
    use(day + 9 * HOUR, { ...asked, meter: "output_tokens", quantity: Math.round(3_000_000 * work * random()) });
    use(day, {
      userId: null,
      kind: "storage",
      model: "models",
      ...none,
      meter: "byte_hours",
      quantity: 24 * 61 * 1024 ** 3,
    });
  }
  const made = { createdBy: actor.userId, createdAt: now };
  await ctx.write(async (tx) => {
    await tx.insert(priceList).values({ id: "prices_usage", prices: PRICES, effectiveAt: 0, ...made });
    for (const one of uses) if (one.to <= now) await recordUse(tx, now, one);
  });
}

const MODELS = ["smollm2-135m-instruct", "llama-3.2-3b-instruct", "qwen3-8b", "mistral-nemo-12b"];
