/**
 * Counts requests since the start of the server, for monitoring: by deployment and status, with tokens and latency.
 * Counted in memory, because counting the stored rows would read all of them.
 */
import { type Ctx, perContext } from "../../ctx.ts";
import type { inference } from "../../db/schema/gateway.ts";

/** Upper bounds of the latency histogram, in seconds. */
export const LATENCY_BOUNDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120] as const;

/** Requests to one deployment; the id is empty for requests that reached none. */
export interface RequestCounts {
  deployment: string;
  model: string;
  byStatus: Map<number, number>;
  promptTokens: number;
  completionTokens: number;
  /** Requests by the first bound that their latency does not exceed; the last is for longer ones. */
  latency: number[];
  latencySumS: number;
}

const countsOf = perContext(() => new Map<string, RequestCounts>());

/** Adds a request to the counts. */
export function countRequest(ctx: Ctx, row: typeof inference.$inferInsert): void {
  const all = countsOf(ctx);
  const deployment = row.deploymentId ?? "";
  let counts = all.get(deployment);
  if (!counts) {
    counts = {
      deployment,
      model: deployment ? row.model : "",
      byStatus: new Map(),
      promptTokens: 0,
      completionTokens: 0,
      latency: new Array<number>(LATENCY_BOUNDS.length + 1).fill(0),
      latencySumS: 0,
    };
    all.set(deployment, counts);
  }
  counts.byStatus.set(row.status, (counts.byStatus.get(row.status) ?? 0) + 1);
  counts.promptTokens += row.promptTokens;
  counts.completionTokens += row.completionTokens;
  const seconds = row.totalMs / 1000;
  const found = LATENCY_BOUNDS.findIndex((bound) => seconds <= bound);
  const slot = found === -1 ? LATENCY_BOUNDS.length : found;
  counts.latency[slot] = (counts.latency[slot] ?? 0) + 1;
  counts.latencySumS += seconds;
}

/** The counts of all deployments, in the order of their first request. */
export const requestCounts = (ctx: Ctx): RequestCounts[] => [...countsOf(ctx).values()];
