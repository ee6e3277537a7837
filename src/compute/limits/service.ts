/** The limits of providers: what administrators set, what a provider charged and runs, and the stop switch. */
import { and, eq, gt, isNull, ne, or, sql } from "drizzle-orm";
import { audit } from "../../accounts/audit/service.ts";
import { usdOf } from "../../billing/meters/money.ts";
import type { ProviderPlugin } from "../../contract/provider.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { providerLimit } from "../../db/schema/hosts.ts";
import { attempt } from "../../db/schema/jobs.ts";
import type { Db } from "../../db/types.ts";
import { AppError, notFound } from "../../errors.ts";
import { openMachines, unrecorded } from "../machines/meter.ts";
import { type Limits, NO_LIMITS, type ProviderUse, providerRefusal, stoppedText } from "./check.ts";
import type { LimitsChange, LimitsView, StopProvider } from "./model.ts";

/** The start of the month (UTC) that a time is in, in milliseconds since 1970. */
function monthStart(at: number): number {
  const date = new Date(at);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
}

type LimitRow = typeof providerLimit.$inferSelect;

const limitsFrom = (row: LimitRow): Limits => ({
  regions: row.regions,
  machineTypes: row.machineTypes,
  maxPricePerHour: row.maxPricePerHour,
  maxMachines: row.maxMachines,
  monthUsd: row.monthUsd,
  stopped: row.stoppedAt !== null,
  stopReason: row.stopReason,
});

/** The limits of one provider. */
export async function limitsOf(db: Db, provider: string): Promise<Limits> {
  const [row] = await db.select().from(providerLimit).where(eq(providerLimit.provider, provider)).limit(1);
  return row ? limitsFrom(row) : NO_LIMITS;
}

/**
 * What a provider runs for this installation, and what it charged this month: from the ledger, with what is not
 * recorded yet.
 * @param without an attempt that does not count
 */
export async function useOf(db: Db, provider: string, now: number, without?: string): Promise<ProviderUse> {
  const live = await db
    .select({ id: attempt.id, offer: attempt.offer })
    .from(attempt)
    .where(and(eq(attempt.provider, provider), isNull(attempt.goneAt), without ? ne(attempt.id, without) : undefined));
  const [charged] = await db
    .select({ micros: sql<number>`coalesce(sum(${meterInterval.quantity}), 0)` })
    .from(meterInterval)
    .where(
      and(
        eq(meterInterval.provider, provider),
        sql`meter = 'provider_micros'`,
        sql`${meterInterval.from} >= ${monthStart(now)}`,
      ),
    );
  // Machines beside those of live attempts: what nobody needs any more costs until it is gone.
  const known = new Set([without, ...live.map(({ id }) => id)]);
  const others = (await openMachines(db, provider)).filter(({ attemptId }) => !known.has(attemptId ?? ""));
  return {
    machines: live.length + others.length,
    monthUsd: usdOf((charged?.micros ?? 0) + (await unrecorded(db, provider, now, monthStart(now)))),
    perHourUsd:
      live.reduce((sum, row) => sum + row.offer.pricePerHour, 0) +
      others.reduce((sum, { pricePerHour }) => sum + pricePerHour, 0),
  };
}

/** Why running work at a provider must save and stop: it is stopped, or its month is used up. By provider. */
export async function stoppedProviders(ctx: Ctx): Promise<ReadonlyMap<string, string>> {
  const rows = await ctx.db
    .select()
    .from(providerLimit)
    .where(or(sql`${providerLimit.stoppedAt} is not null`, sql`${providerLimit.monthUsd} is not null`));
  const found = new Map<string, string>();
  for (const row of rows) {
    const title = titleOf(ctx, row.provider);
    const use = await useOf(ctx.db, row.provider, ctx.clock.now());
    const why = providerRefusal(title, { ...limitsFrom(row), maxMachines: null }, use);
    if (why) found.set(row.provider, why);
  }
  return found;
}

/** That an administrator has stopped everything at a provider, and why; null = it is not stopped. */
export async function stoppedBecause(ctx: Ctx, provider: string): Promise<string | null> {
  const limits = await limitsOf(ctx.db, provider);
  return limits.stopped ? stoppedText(titleOf(ctx, provider), limits) : null;
}

/** The title of a provider for people; its id when it is not loaded. */
export const titleOf = (ctx: Ctx, id: string): string => ctx.compute.get(id)?.plugin.title ?? id;

/** The limits of a provider as administrators see them. */
export const limitsViewOf = (provider: string, row: LimitRow | undefined): LimitsView => ({
  object: "provider_limits",
  provider,
  regions: row?.regions ?? [],
  machine_types: row?.machineTypes ?? [],
  max_price_per_hour: row?.maxPricePerHour ?? null,
  max_machines: row?.maxMachines ?? null,
  month_usd: row?.monthUsd ?? null,
  cost_per_gpu_hour: row?.costPerGpuHour ?? null,
  models_from_hub: row?.modelsFromHub ?? null,
  stopped_at: row?.stoppedAt ?? null,
  stop_reason: row?.stopReason ?? null,
});

function requireProvider(ctx: Ctx, id: string): ProviderPlugin {
  const entry = ctx.compute.get(id);
  if (!entry) throw notFound("provider", id.slice(0, 100));
  return entry.plugin;
}

/** What an hour of a GPU of own machines costs, by provider, where that is set. */
export async function ownGpuCosts(ctx: Ctx): Promise<ReadonlyMap<string, number>> {
  const rows = await ctx.db
    .select({ provider: providerLimit.provider, cost: providerLimit.costPerGpuHour })
    .from(providerLimit)
    .where(gt(providerLimit.costPerGpuHour, 0));
  return new Map(
    rows.flatMap(({ provider, cost }) =>
      cost === null || ctx.compute.get(provider)?.plugin.capabilities.priced ? [] : [[provider, cost]],
    ),
  );
}

/** Changes columns of a provider's limits, audited; the queue looks at them at once. */
async function store(ctx: Ctx, actor: Actor, provider: string, set: Partial<LimitRow>, action: string, detail: object) {
  const row = await ctx.write(async (tx) => {
    const updatedAt = ctx.clock.now();
    const [stored] = await tx
      .insert(providerLimit)
      .values({ provider, regions: [], machineTypes: [], ...set, updatedAt })
      .onConflictDoUpdate({ target: providerLimit.provider, set: { ...set, updatedAt } })
      .returning();
    await audit(tx, ctx, actor, action, provider, { ...detail });
    return stored;
  });
  ctx.bus.emit("hosts.changed", { ids: [] });
  return limitsViewOf(provider, row);
}

/**
 * Changes the limits of a provider. Administrators only; audited.
 * @throws AppError `provider_not_found`, `provider_has_prices`
 */
export function changeLimits(ctx: Ctx, actor: Actor, provider: string, change: LimitsChange): Promise<LimitsView> {
  requireAdmin(actor);
  const { title, capabilities } = requireProvider(ctx, provider);
  const { regions, machine_types, max_price_per_hour, max_machines, month_usd, cost_per_gpu_hour: cost } = change;
  const { models_from_hub } = change;
  if (cost && capabilities.priced)
    throw new AppError("invalid", "provider_has_prices", `${title} names the prices of its machines itself.`, {
      param: "cost_per_gpu_hour",
    });
  const set = {
    ...(regions === undefined ? {} : { regions: [...new Set(regions)] }),
    ...(machine_types === undefined ? {} : { machineTypes: [...new Set(machine_types)] }),
    ...(max_price_per_hour === undefined ? {} : { maxPricePerHour: max_price_per_hour }),
    ...(max_machines === undefined ? {} : { maxMachines: max_machines }),
    ...(month_usd === undefined ? {} : { monthUsd: month_usd }),
    ...(cost === undefined ? {} : { costPerGpuHour: cost }),
    ...(models_from_hub === undefined ? {} : { modelsFromHub: models_from_hub }),
  };
  return store(ctx, actor, provider, set, "provider.limits", change);
}

/**
 * Stops everything at a provider: trainings save a checkpoint and return to the queue, endpoints stop, and nothing
 * starts there until `resumeProvider`. Administrators only; audited.
 * @throws AppError `provider_not_found`
 */
export function stopProvider(ctx: Ctx, actor: Actor, provider: string, { reason }: StopProvider): Promise<LimitsView> {
  requireAdmin(actor);
  requireProvider(ctx, provider);
  const set = { stoppedAt: ctx.clock.now(), stoppedBy: actor.userId, stopReason: reason || null };
  return store(ctx, actor, provider, set, "provider.stop", reason ? { reason } : {});
}

/** Lets work start at a provider again. Administrators only; audited. @throws AppError `provider_not_found` */
export function resumeProvider(ctx: Ctx, actor: Actor, provider: string): Promise<LimitsView> {
  requireAdmin(actor);
  requireProvider(ctx, provider);
  return store(ctx, actor, provider, { stoppedAt: null, stoppedBy: null, stopReason: null }, "provider.resume", {});
}
