/** Seeded prices: a list in force with its predecessor, and one for a single team that is scheduled. */
import type { Actor, Ctx } from "../../src/ctx.ts";
import { priceList } from "../../src/db/schema/billing.ts";

const DAY = 86_400_000;
const item = { gpu_model: null, provider: null, model: null, unit_micros: null, cost_plus_percent: null };

export async function addPrices(ctx: Ctx, actor: Actor): Promise<void> {
  const today = Math.floor(ctx.clock.now() / DAY) * DAY;
  const list = (n: number, effectiveAt: number, gpuHour: number, org: string | null, note: string) => ({
    id: `prices_${String(n).padStart(4, "0")}seed0seed0seed0`,
    org,
    prices: {
      items: [
        { ...item, meter: "gpu_seconds" as const, unit_micros: gpuHour },
        { ...item, meter: "gpu_seconds" as const, gpu_model: "NVIDIA H100 80GB HBM3", unit_micros: 2 * gpuHour },
        { ...item, meter: "gpu_seconds" as const, provider: "runpod", cost_plus_percent: 15 },
        { ...item, meter: "cpu_seconds" as const, unit_micros: 37_500 },
        { ...item, meter: "input_tokens" as const, unit_micros: 150_000 },
        { ...item, meter: "output_tokens" as const, unit_micros: 600_000 },
        { ...item, meter: "byte_hours" as const, unit_micros: 50_000 },
      ],
      free: [{ meter: "byte_hours" as const, quantity: 100 * 1024 ** 3 * 730 }],
    },
    note,
    effectiveAt,
    createdBy: actor.userId,
    createdAt: effectiveAt - 40 * DAY,
    announcedAt: effectiveAt - 40 * DAY,
  });
  await ctx.write((tx) =>
    tx
      .insert(priceList)
      .values([
        list(1, today - 200 * DAY, 1_100_000, null, "GPUs have a price."),
        list(2, today - 20 * DAY, 1_250_000, null, "Electricity is dearer."),
        { ...list(3, today + 20 * DAY, 990_000, actor.org, "Agreed for a year."), announcedAt: null },
      ]),
  );
}
