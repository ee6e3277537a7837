/** One provider as administrators watch it: health, machines, cost, limits, errors, and orphans that were found. */
import { and, desc, eq, isNull, sql } from "drizzle-orm";
import { usdOf } from "../../billing/meters/money.ts";
import type { Offer } from "../../contract/provider.ts";
import { type Actor, type Ctx, requireAdmin } from "../../ctx.ts";
import { meterInterval } from "../../db/schema/billing.ts";
import { providerError, providerLimit, providerOrphan } from "../../db/schema/hosts.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { notFound } from "../../errors.ts";
import { DAY_MS } from "../../lib/clock.ts";
import { costOfAttempts, unrecorded } from "../machines/meter.ts";
import { accountStateOf } from "./accounts.ts";
import { mayUseHub } from "./hub.ts";
import type { ProviderState } from "./model.ts";
import { pausedProviders } from "./pauses.ts";
import { limitsViewOf, useOf } from "./service.ts";

const SHOWN = 20;
const MAX_MACHINES = 500;

/** US dollars that a provider charged since a time, with what is not recorded yet. */
async function chargedSince(ctx: Ctx, provider: string, since: number): Promise<number> {
  const [row] = await ctx.db
    .select({ micros: sql<number>`coalesce(sum(${meterInterval.quantity}), 0)` })
    .from(meterInterval)
    .where(
      and(eq(meterInterval.provider, provider), sql`meter = 'provider_micros'`, sql`${meterInterval.from} >= ${since}`),
    );
  return usdOf((row?.micros ?? 0) + (await unrecorded(ctx.db, provider, ctx.clock.now(), since)));
}

async function machinesOf(ctx: Ctx, provider: string): Promise<ProviderState["machines"]> {
  const rows = await ctx.db
    .select({
      attempt: attempt.id,
      job: job.id,
      name: job.name,
      kind: job.kind,
      offer: attempt.offer,
      startedAt: attempt.startedAt,
      createdAt: attempt.createdAt,
      endedAt: attempt.endedAt,
    })
    .from(attempt)
    .innerJoin(job, eq(job.id, attempt.jobId))
    .where(and(eq(attempt.provider, provider), isNull(attempt.goneAt)))
    .orderBy(attempt.createdAt)
    .limit(MAX_MACHINES);
  const costs = await costOfAttempts(
    ctx,
    rows.map((row) => row.attempt),
  );
  return rows.map(({ offer, startedAt, createdAt, endedAt, ...row }) => {
    // Attempts of contract 1 that still run know only their place and price.
    const { region = null, zone = null, machineType = null, market = "own" }: Partial<Offer> = offer;
    const { location, pricePerHour } = offer;
    return {
      ...row,
      location,
      region,
      zone,
      machine_type: machineType,
      market,
      price_per_hour: pricePerHour,
      since: startedAt ?? createdAt,
      ending: endedAt !== null,
      cost_usd: costs.get(row.attempt) ?? 0,
    };
  });
}

async function stateOf(ctx: Ctx, id: string): Promise<ProviderState> {
  const entry = ctx.compute.get(id);
  if (!entry) throw notFound("provider", id.slice(0, 100));
  const now = ctx.clock.now();
  const pause = (await pausedProviders(ctx.db, now)).get(id);
  const [limits] = await ctx.db.select().from(providerLimit).where(eq(providerLimit.provider, id)).limit(1);
  const errors = await ctx.db
    .select()
    .from(providerError)
    .where(eq(providerError.provider, id))
    .orderBy(desc(providerError.at))
    .limit(SHOWN);
  const orphans = await ctx.db
    .select()
    .from(providerOrphan)
    .where(eq(providerOrphan.provider, id))
    .orderBy(desc(providerOrphan.foundAt))
    .limit(SHOWN);
  return {
    object: "provider_state",
    id,
    title: entry.plugin.title,
    priced: entry.plugin.capabilities.priced,
    health: limits?.stoppedAt != null ? "stopped" : pause ? "paused" : "active",
    pause: pause
      ? {
          kind: pause.kind,
          message: pause.message,
          vendor_code: pause.vendorCode,
          since: pause.since,
          until: pause.until,
        }
      : null,
    limits: limitsViewOf(id, limits),
    uses_hub:
      entry.plugin.kind === "process"
        ? null
        : await mayUseHub(ctx, id, { market: entry.plugin.capabilities.priced ? "on_demand" : "own" }),
    account: accountStateOf(ctx, id),
    machines: await machinesOf(ctx, id),
    cost_today_usd: await chargedSince(ctx, id, Math.floor(now / DAY_MS) * DAY_MS),
    cost_month_usd: (await useOf(ctx.db, id, now)).monthUsd,
    errors: errors.map(({ request, kind, message, vendorCode, times, at }) => ({
      request,
      kind,
      message,
      vendor_code: vendorCode,
      times,
      at,
    })),
    orphans: orphans.map(({ resource, key, foundAt, tries, removedAt, error }) => ({
      resource,
      key,
      found_at: foundAt,
      tries,
      removed_at: removedAt,
      error,
    })),
  };
}

/** The state of one provider. Administrators only. @throws AppError `provider_not_found` */
export async function readProvider(ctx: Ctx, actor: Actor, id: string): Promise<ProviderState> {
  requireAdmin(actor);
  return stateOf(ctx, id);
}

/** The state of every provider, those that cost money first. Administrators only. */
export async function readProviders(ctx: Ctx, actor: Actor): Promise<ProviderState[]> {
  requireAdmin(actor);
  const states = await Promise.all(ctx.compute.list().map(({ plugin }) => stateOf(ctx, plugin.id)));
  return states.sort((a, b) => Number(b.priced) - Number(a.priced));
}
