/** Seeded status: 90 days of every component with some outages, one open incident and a resolved one. */
import type { Actor, Ctx } from "../../src/ctx.ts";
import { statusComponent, statusDay } from "../../src/db/schema/status.ts";
import { openIncident, updateIncident } from "../../src/insights/status/incidents.ts";

const DAY = 86_400_000;
const MINUTE = 60_000;

export async function addStatus(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  const today = Math.floor(now / DAY);
  const components = ["api", "training", "inference", "provider:process"] as const;
  const lost: Record<string, number> = { "api 41": 4, "api 12": 95, "training 30": 30, "inference 12": 95 };
  await ctx.write(async (tx) => {
    for (const id of components) {
      const degraded = id === "inference";
      await tx.insert(statusComponent).values({
        id,
        state: degraded ? "degraded" : "operational",
        problem: degraded ? "1 of 6 endpoints fail." : null,
        since: now - 40 * MINUTE,
        observedUntil: now,
      });
      await tx.insert(statusDay).values(
        Array.from({ length: 80 }, (_, age) => {
          const downMs = (lost[`${id} ${age}`] ?? 0) * MINUTE;
          const plannedMs = age === 20 ? 60 * MINUTE : 0;
          const degradedMs = degraded && age === 0 ? 40 * MINUTE : 0;
          const whole = age === 0 ? now - today * DAY : DAY;
          return {
            component: id,
            day: today - age,
            downMs,
            plannedMs,
            degradedMs,
            upMs: Math.max(0, whole - downMs - plannedMs - degradedMs),
          };
        }),
      );
    }
  });
  const past = await openIncident(ctx, actor, {
    title: "Requests failed after the upgrade",
    text: "Some requests are answered with **500**. We look.",
    impact: "major",
    status: "investigating",
    components: ["api", "inference"],
    started_at: Math.floor((now - 12 * DAY) / 1000),
    notify: false,
  });
  await updateIncident(ctx, actor, past.id, {
    status: "resolved",
    text: "The earlier version runs again.",
    notify: false,
  });
  await openIncident(ctx, actor, {
    title: "One endpoint of the support team does not start",
    text: "Its GPU reports memory errors:\n\n- we move the endpoint to another host\n- next update at 14:00 UTC",
    impact: "minor",
    status: "identified",
    components: ["inference"],
    started_at: Math.floor((now - 40 * MINUTE) / 1000),
    notify: false,
  });
}
