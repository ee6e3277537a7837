/** Joules as kilowatt-hours and grams of CO2. */
import type { Ctx } from "../../ctx.ts";
import { billingSettings } from "../settings/service.ts";

const JOULES_PER_KWH = 3_600_000;

/** Energy and carbon by the installation's setting `grams_per_kwh`. */
export async function energyOf(ctx: Ctx, joules: number): Promise<{ energy_kwh: number; carbon_g: number }> {
  const { grams_per_kwh: perKwh } = await billingSettings(ctx);
  const kwh = joules / JOULES_PER_KWH;
  return { energy_kwh: kwh, carbon_g: kwh * perKwh };
}
