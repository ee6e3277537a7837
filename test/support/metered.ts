/** A team's metered use with figures that a person can add up. */
import { recordUse, reverseUse, type Use } from "../../src/billing/ledger/record.ts";
import { priceList } from "../../src/db/schema/billing.ts";
import { job } from "../../src/db/schema/jobs.ts";
import type { TestApp } from "./app.ts";
import { trainSpec } from "./attempt.ts";

export const NOW = Date.UTC(2026, 10, 20, 12);
const HOUR = 3_600_000;
/** A time in November 2026, UTC. */
export const on = (day: number, hour = 0) => Date.UTC(2026, 10, day, hour);

const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };

/** Records a use of one hour; by default one GPU-hour of the administrator. */
export function recordHour(t: TestApp, from: number, more: Partial<Use> = {}): Promise<boolean> {
  const { org, userId } = t.actor("admin");
  const use: Use = {
    source: `${more.jobId ?? more.org ?? "use"} ${more.meter ?? "gpu_seconds"} ${from}`,
    org,
    userId,
    keyId: null,
    kind: "train",
    meter: "gpu_seconds",
    jobId: null,
    attemptId: null,
    deploymentId: null,
    sweepId: null,
    model: "tiny",
    provider: "process",
    gpuModel: "H100",
    from,
    to: from + HOUR,
    quantity: 3600,
    free: null,
    costMicros: null,
    ...more,
  };
  return t.ctx.write((tx) => recordUse(tx, NOW, use));
}

export async function addJob(
  t: TestApp,
  id: string,
  as: "admin" | "member",
  more: Partial<typeof job.$inferInsert> = {},
) {
  const { org, userId } = t.actor(as);
  await t.ctx.write((tx) =>
    tx.insert(job).values({
      id,
      org,
      kind: "train",
      name: `job of ${as}`,
      state: "succeeded",
      request: {},
      metadata: {},
      progress: {},
      spec: trainSpec(),
      createdBy: userId,
      createdAt: on(10),
      ...more,
    }),
  );
}

/**
 * In November: the administrator's training on their own host, half of its second hour lost; the member's on a rented
 * GPU after ten minutes of loading; the member's requests with their key. One hour in October, and one of another team.
 *
 * | day | use | cost |
 * |---|---|---|
 * | 10 | 1 GPU-hour H100, administrator | $3.60 |
 * | 11 | 1 GPU-hour H100, administrator, half of it taken back | $1.80 |
 * | 11 | 0.5 GPU-hours A10, member; 600 s of loading are free | $1.80 |
 * | 19 | 1,000,000 input and 500,000 output tokens, member | $2 + $2 |
 */
export async function addUse(t: TestApp): Promise<void> {
  const member = { userId: t.users.member };
  await t.ctx.write((tx) =>
    tx.insert(priceList).values({
      id: "prices_1",
      org: null,
      prices: {
        items: [
          { ...item, meter: "gpu_seconds", unit_micros: 3_600_000 },
          { ...item, meter: "input_tokens", unit_micros: 2_000_000 },
          { ...item, meter: "output_tokens", unit_micros: 4_000_000 },
        ],
        free: [],
      },
      effectiveAt: 0,
      createdBy: "system",
      createdAt: 0,
    }),
  );
  await addJob(t, "ftjob-own", "admin");
  await addJob(t, "ftjob-rented", "member", { name: "=cmd()" });
  await recordHour(t, on(1) - HOUR, { jobId: "ftjob-own" });
  await recordHour(t, on(10), { jobId: "ftjob-own" });
  await recordHour(t, on(11), { jobId: "ftjob-own" });
  await t.ctx.write((tx) =>
    reverseUse(tx, NOW, {
      source: `ftjob-own gpu_seconds ${on(11)}`,
      since: on(11) + HOUR / 2,
      why: "lost",
      sweepId: null,
    }),
  );
  const rented = { ...member, jobId: "ftjob-rented", provider: "cloud", gpuModel: "A10" };
  await recordHour(t, on(11, 2), { ...rented, quantity: 1800 });
  await recordHour(t, on(11, 3), { ...rented, quantity: 600, free: "loading" });
  await recordHour(t, on(11, 2), { ...rented, meter: "provider_micros", quantity: 999 });
  const asked = { ...member, keyId: t.keyIds.member, kind: "inference" as const, provider: null, gpuModel: null };
  await recordHour(t, on(19, 9), { ...asked, meter: "input_tokens", quantity: 1_000_000 });
  await recordHour(t, on(19, 9), { ...asked, meter: "output_tokens", quantity: 500_000 });
  await recordHour(t, on(10), { org: t.orgs.b, userId: t.users.other });
}
