/**
 * Providers of rented machines that had nothing for a job, and when each is asked for it again. Meanwhile own machines
 * and other providers are tried. Lost with a restart: then they are asked once more.
 */
import { type Ctx, perContext } from "../../ctx.ts";

/** When each provider is asked again, in milliseconds since 1970. Never changed in place. */
type Closed = ReadonlyMap<string, number>;

const closedOf = perContext(() => new Map<string, Closed>());

/** A job asks a provider for nothing until `ms` have passed. */
export function closeProvider(ctx: Ctx, jobId: string, provider: string, ms: number): void {
  const all = closedOf(ctx);
  const before = all.get(jobId);
  const until = Math.max(before?.get(provider) ?? 0, ctx.clock.now() + ms);
  all.set(jobId, new Map([...(before ?? []), [provider, until]]));
}

/** The closed providers of each job that has some; those whose time has come are forgotten. */
export function closedProviders(ctx: Ctx): ReadonlyMap<string, Closed> {
  const all = closedOf(ctx);
  const now = ctx.clock.now();
  for (const [jobId, closed] of all) {
    const rest = [...closed].filter(([, until]) => until > now);
    if (rest.length === 0) all.delete(jobId);
    else if (rest.length < closed.size) all.set(jobId, new Map(rest));
  }
  return all;
}

/** Forgets all: the clock was set. */
export const openProviders = (ctx: Ctx): void => closedOf(ctx).clear();
