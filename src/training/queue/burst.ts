/**
 * Burst policies in the queue: which waiting jobs leave own machines for rented ones, decided from the forecast of the
 * own machines and from the offers of all providers.
 */
import { inArray } from "drizzle-orm";
import type { Ctx } from "../../ctx.ts";
import { job } from "../../db/schema/jobs.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { machineOption, predictionsFor } from "../attempts/compare.ts";
import type { JobRow } from "../jobs/model.ts";
import { collectOffers } from "../plan/offers.ts";
import { decideBurst, type Option, ownNoun, rentsAtOnce } from "../scheduler/burst.ts";
import { everFits, openCluster } from "../scheduler/capacity.ts";
import type { BurstMark, Host, Input, Job, Round, Wait, WaitCode } from "../scheduler/types.ts";
import { ownWaits } from "./own-wait.ts";

/** How long a decision holds; offers and forecasts change meanwhile. */
const HOLDS_MS = 15_000;
/** Jobs that are decided after one round. */
const MAX_DECIDED = 8;

/** What was decided for a waiting job. */
export interface Verdict {
  until: number;
  leaves: boolean;
  /** As a sentence, and the part of it that gives the reason. */
  text: string;
  why: string;
}

/** Whether a job may run on rented machines at all. */
const mayRent = ({ hereOnly, noRent, late }: Job) => !hereOnly && !noRent && late === undefined;

/** `rents`: there are rented machines; `ownCosts`: own machines have a cost that offers are compared with. */
interface Market {
  rents: boolean;
  ownCosts: boolean;
}

/** Where a job may start by its policy and by what was decided for it. */
export function burstMarkOf(
  one: Job,
  policy: BurstPolicy,
  verdict: Verdict | undefined,
  { rents, ownCosts }: Market,
): { burst: BurstMark | undefined; burstWhy: string | undefined } {
  const mark = (burst?: BurstMark, burstWhy?: string) => ({ burst, burstWhy });
  if (!rents) return mark();
  const noun = ownNoun(one.wants.gpus);
  if (policy.type === "local_only") return mark("own", `Waits for ${noun}: its burst policy is own machines only`);
  if (rentsAtOnce(policy) || !mayRent(one)) return mark();
  if (!verdict) {
    // The best place may be a rented one even while an own machine is free.
    const differs = policy.type === "fastest" || (policy.type === "cheapest" && ownCosts);
    const compares = differs && !one.begun;
    return mark(compares ? "compares" : "stays", `Waits for ${noun}: comparing the offers of providers`);
  }
  if (!verdict.leaves) return mark("stays", verdict.text);
  // An own machine that became free meanwhile wins: the wait is over, or the job returns home.
  return mark(policy.type === "burst" || one.begun ? undefined : "leaves", verdict.text);
}

const CAPACITY: ReadonlySet<WaitCode> = new Set(["capacity", "reserved", "hosts_away", "burst"]);

/** Whether a policy has to decide if a waiting job leaves. Closed providers do not keep it from that. */
export function mayLeave(one: Job, policy: BurstPolicy, wait: Wait | undefined): boolean {
  if (wait === undefined || policy.type === "local_only" || rentsAtOnce(policy) || !mayRent(one)) return false;
  return CAPACITY.has(wait.code) || (wait.code === "retry" && one.closed !== undefined && wait.until !== one.retryAt);
}

/** The memory of the offer suffices. */
const suffices = ({ need }: JobRow["spec"], offer: { memoryMb: number; gpuMemoryMb: number }) =>
  offer.memoryMb >= need.memory_mb && (need.gpus === 0 || offer.gpuMemoryMb >= need.gpu_memory_mb);

interface JobFacts {
  row: JobRow;
  one: Job;
  /** Predicted seconds until own machines are free for it; null = unknown. */
  waitS: number | null;
  ownFits: boolean;
}

/** Every place for a job: own machines with the predicted wait, and the offers of rented ones. */
async function optionsOf(ctx: Ctx, { row, one, waitS, ownFits }: JobFacts, hosts: readonly Host[]): Promise<Option[]> {
  const [{ found }, predict] = await Promise.all([collectOffers(ctx, row.spec.need), predictionsFor(ctx, row)]);
  const options = found.flatMap(({ provider, offer, out }): Option[] => {
    const entry = ctx.compute.get(provider);
    if (!entry || !suffices(row.spec, offer)) return [];
    const on = { plugin: entry.plugin, offer };
    const { usd, seconds } = predict(on);
    const asked = hosts.find((host) => host.ask && host.provider === provider);
    const closed = asked && asked.state !== "ready" ? (asked.why ?? `${entry.plugin.title} is paused`) : null;
    const option = { ...machineOption(on), usd, seconds };
    const had = one.closed?.has(provider) ? `${entry.plugin.title} had none a moment ago` : null;
    if (option.rented) {
      const gone = offer.available ? null : `no capacity at ${entry.plugin.title} now`;
      return [{ ...option, waitS: 0, out: out ?? closed ?? gone ?? had }];
    }
    if (!ownFits) return [];
    return [{ ...option, waitS: asked ? (offer.available ? 0 : null) : waitS, out: closed }];
  });
  if (ownFits && !options.some(({ rented }) => !rented))
    options.push({
      rented: false,
      title: "this installation",
      spot: false,
      machine: "",
      waitS,
      seconds: one.estimate.high === null ? null : (one.estimate.low + one.estimate.high) / 2000,
      usd: 0,
      out: null,
    });
  return options;
}

/** Decides for one job. */
async function decideOne(ctx: Ctx, policy: BurstPolicy, facts: JobFacts, hosts: readonly Host[]): Promise<Verdict> {
  const noun = ownNoun(facts.one.wants.gpus);
  const { leaves, chosen, why } = decideBurst(policy, await optionsOf(ctx, facts, hosts), noun);
  const text = leaves ? `Leaves for ${chosen?.title}: ${why}` : `Waits for ${noun}: ${why}`;
  return { until: ctx.clock.now() + HOLDS_MS, leaves, text, why };
}

/**
 * Decides for the first jobs that wait and whose last decision no longer holds.
 * @returns whether a job may now start elsewhere than before
 */
export async function decideWaiting(
  ctx: Ctx,
  verdicts: Map<string, Verdict>,
  policyOf: (one: Job) => BurstPolicy,
  { input, round }: { input: Input; round: Round },
): Promise<boolean> {
  const queued = new Map(input.queued.map((one) => [one.id, one]));
  for (const id of verdicts.keys()) if (!queued.has(id)) verdicts.delete(id);
  if (!input.capacity.hosts.some((host) => host.rented)) return false;
  const due: Job[] = [];
  for (const id of round.order) {
    const one = queued.get(id);
    if (!one || !mayLeave(one, policyOf(one), round.waits.get(id))) continue;
    if ((verdicts.get(id)?.until ?? 0) > input.now) continue;
    due.push(one);
    if (due.length === MAX_DECIDED) break;
  }
  if (due.length === 0) return false;
  const ids = due.map(({ id }) => id);
  const rows = await ctx.db.select().from(job).where(inArray(job.id, ids));
  const waitOf = await ownWaits(ctx, { input, round });
  const own = openCluster(
    { ...input.capacity, hosts: input.capacity.hosts.filter((host) => !host.rented) },
    [],
    input.now,
  );
  let moved = false;
  await Promise.all(
    due.map(async (one) => {
      const row = rows.find(({ id, state }) => id === one.id && state === "queued");
      if (!row) return;
      const facts = { row, one, waitS: waitOf(one.id), ownFits: everFits(own, one) };
      const verdict = await decideOne(ctx, policyOf(one), facts, input.capacity.hosts);
      moved ||= verdict.leaves !== verdicts.get(one.id)?.leaves;
      verdicts.set(one.id, verdict);
    }),
  );
  return moved;
}
