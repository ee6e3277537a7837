/** Burst policies: their text, the decision table, and what holds for every decision. */
import { describe, expect, test } from "bun:test";
import { type BurstPolicy, burstPolicyOf, burstPolicyText } from "../../src/lib/text/burst-policy.ts";
import { burstMarkOf } from "../../src/training/queue/burst.ts";
import { decideBurst, launchOrder, type Option } from "../../src/training/scheduler/burst.ts";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { BurstMark, Capacity, Host } from "../../src/training/scheduler/types.ts";
import { aJob, anInput, cluster, random } from "../support/cluster.ts";

const HOUR = 3600;

describe("the text of a policy", () => {
  test.each([
    ["local_only", { type: "local_only" }],
    ["cheapest", { type: "cheapest" }],
    ["fastest", { type: "fastest" }],
    ["burst", { type: "burst", wait_over_s: 0, cost_under_usd: null }],
    ["burst:wait=30m", { type: "burst", wait_over_s: 1800, cost_under_usd: null }],
    ["burst:cost=20.5", { type: "burst", wait_over_s: 0, cost_under_usd: 20.5 }],
    ["burst:wait=90s,cost=20", { type: "burst", wait_over_s: 90, cost_under_usd: 20 }],
    ["burst:wait=2d,cost=1000", { type: "burst", wait_over_s: 172_800, cost_under_usd: 1000 }],
  ] as [string, BurstPolicy][])("%s is read and written", (text, policy) => {
    expect(burstPolicyOf(text)).toEqual(policy);
    expect(burstPolicyText(policy)).toBe(text);
  });

  test.each([
    "",
    "never",
    "cheapest:wait=1m",
    "fastest:",
    "burst:",
    "burst:wait",
    "burst:wait=1w",
    "burst:wait=-1m",
    "burst:wait=31d",
    "burst:cost=0",
    "burst:cost=1e3",
    "burst:price=3",
    "burst:wait=1m,wait=2m",
  ])("%p is refused", (text) => expect(burstPolicyOf(text)).toBe(null));
});

const option = (more: Partial<Option> & { title: string }): Option => ({
  rented: true,
  spot: false,
  machine: more.title,
  waitS: 0,
  seconds: HOUR,
  usd: 5,
  out: null,
  ...more,
});
const home = (waitS: number | null, seconds = HOUR) => option({ title: "own", rented: false, waitS, seconds, usd: 0 });
const cheap = option({ title: "Cheap", usd: 4, seconds: 2 * HOUR });
const quick = option({ title: "Quick", usd: 9, seconds: HOUR / 2 });
const soldOut = option({ title: "SoldOut", usd: 1, seconds: 60, out: "no capacity at SoldOut now" });
const rent = (wait_over_s: number, cost_under_usd: number | null = null): BurstPolicy => ({
  type: "burst",
  wait_over_s,
  cost_under_usd,
});
const LOCAL: BurstPolicy = { type: "local_only" };
const CHEAPEST: BurstPolicy = { type: "cheapest" };
const FASTEST: BurstPolicy = { type: "fastest" };

test.each([
  ["local_only never leaves", LOCAL, [home(9 * HOUR), cheap], "own", "own machines only"],
  ["local_only without an own machine", LOCAL, [cheap], null, "own machines only"],
  [
    "burst within the wait",
    rent(1800),
    [home(720), cheap],
    "own",
    "predicted wait 12 min is within the policy's 30 min",
  ],
  [
    "burst over the wait",
    rent(1800),
    [home(2 * HOUR), quick, cheap],
    "Cheap",
    "predicted wait for own GPUs 2 h is over the policy's 30 min; about $4.00 there",
  ],
  [
    "burst over the wait, too expensive",
    rent(1800, 4),
    [home(2 * HOUR), quick, cheap],
    "own",
    "about $4.00 at Cheap is not below the policy's $4.00",
  ],
  ["burst over the wait, one below the cost", rent(1800, 5), [home(2 * HOUR), quick, cheap], "Cheap", "about $4.00"],
  ["burst with an unknown wait", rent(1800), [home(null), cheap], "Cheap", "the wait for own GPUs is unknown"],
  ["burst when nothing is left to rent", rent(1800), [home(null), soldOut], "own", "no capacity at SoldOut now"],
  ["burst where no own machine fits", rent(1800), [cheap], "Cheap", "no own GPUs could run it"],
  ["cheapest waits for own machines", CHEAPEST, [home(9 * HOUR), cheap], "own", "$4.00 at Cheap"],
  [
    "cheapest leaves own machines that cost more",
    CHEAPEST,
    [{ ...home(0), usd: 4.5 }, quick, cheap],
    "Cheap",
    "$4.50 on",
  ],
  ["cheapest stays on own machines that cost the same", CHEAPEST, [{ ...home(0), usd: 4 }, cheap], "own", "$4.00 at"],
  ["cheapest where no own machine fits", CHEAPEST, [quick, cheap, soldOut], "Cheap", "no own GPUs"],
  [
    "fastest stays on a free own machine",
    FASTEST,
    [home(0), cheap],
    "own",
    "done in about 1 h there, done in about 2 h at Cheap",
  ],
  ["fastest leaves for a faster one", FASTEST, [home(0), quick, cheap], "Quick", "done in about 30 min there"],
  ["fastest counts the wait", FASTEST, [home(2 * HOUR), cheap], "Cheap", "done in about 2 h"],
] as [string, BurstPolicy, Option[], string | null, string][])("%s", (_what, policy, options, chosen, why) => {
  const decision = decideBurst(policy, options, "own GPUs");
  expect(decision.chosen?.title ?? null).toBe(chosen);
  expect(decision.why).toContain(why);
  expect(decision.leaves).toBe(decision.chosen?.rented ?? false);
});

test("a spot machine goes before an equal one on demand, unless preemption makes it much slower", () => {
  const demand = option({ title: "demand", machine: "h100", seconds: 1000, usd: 9 });
  const spot = option({ title: "spot", machine: "h100", spot: true, seconds: 1080, usd: 5 });
  const titles = (options: Option[]) => launchOrder(FASTEST, options, false).map(({ title }) => title);
  expect(titles([demand, spot])).toEqual(["spot", "demand"]);
  expect(titles([demand, { ...spot, seconds: 1200 }])).toEqual(["demand", "spot"]);
  expect(decideBurst(FASTEST, [demand, spot], "own GPUs").chosen).toBe(spot);
});

test("over 3000 random cases, each policy keeps its promise and every other place has a reason", () => {
  const next = random(20_261_201);
  const finish = ({ waitS, seconds }: Option) => (waitS ?? Infinity) + (seconds ?? 0);
  for (let round = 0; round < 3000; round++) {
    const options = Array.from({ length: Math.floor(next() * 7) }, (_, n) => {
      const rented = next() < 0.6;
      return option({
        title: `o${n}`,
        rented,
        spot: rented && next() < 0.5,
        machine: `m${Math.floor(next() * 3)}`,
        waitS: rented ? 0 : next() < 0.2 ? null : Math.floor(next() * 4) * 1800,
        seconds: Math.ceil(next() * 10_000),
        usd: rented || next() < 0.5 ? Math.ceil(next() * 2000) / 100 : 0,
        out: next() < 0.2 ? "sold out" : null,
      });
    });
    const type = (["local_only", "burst", "cheapest", "fastest"] as const)[round % 4] ?? "burst";
    const policy =
      type === "burst" ? rent(Math.floor(next() * 4) * 1800, next() < 0.5 ? next() * 20 + 0.01 : null) : { type };
    const decision = decideBurst(policy, options, "own machines");
    const { chosen, leaves, others, why } = decision;
    const usable = options.filter((one) => one.out === null);
    const [own, rented] = [usable.filter((one) => !one.rented), usable.filter((one) => one.rented)];
    expect([round, why.length > 0]).toEqual([round, true]);
    if (chosen === null) expect([leaves, own.length]).toEqual([false, 0]);
    else expect((leaves ? rented : own).includes(chosen)).toBe(true);
    for (const one of options)
      if (one !== chosen) expect([round, (others.get(one) ?? "").length > 0]).toEqual([round, true]);
    const wait = Math.min(Infinity, ...own.map((one) => one.waitS ?? Infinity));
    if (policy.type === "local_only") expect(leaves).toBe(false);
    if (policy.type === "burst") {
      const below = rented.filter((one) => policy.cost_under_usd === null || one.usd < policy.cost_under_usd);
      expect([round, leaves]).toEqual([round, wait > policy.wait_over_s && below.length > 0]);
      if (leaves) expect(chosen?.usd).toBe(Math.min(...below.map((one) => one.usd)));
    }
    if (policy.type === "cheapest" && chosen) expect(chosen.usd).toBe(Math.min(...usable.map((one) => one.usd)));
    if (policy.type === "fastest" && chosen && Number.isFinite(finish(chosen)))
      expect(finish(chosen)).toBeLessThanOrEqual(Math.min(...usable.map(finish)) * 1.1 + 1e-9);
    const now = launchOrder(policy, usable, true);
    if (policy.type === "fastest" || policy.type === "cheapest")
      expect(now.findIndex((one) => one.rented) >= own.length || rented.length === 0).toBe(true);
    expect(new Set(now).size).toBe(now.length);
  }
});

test.each([
  [CHEAPEST, { rents: true, ownCosts: true }, false, "compares"],
  [CHEAPEST, { rents: true, ownCosts: false }, false, "stays"],
  [CHEAPEST, { rents: true, ownCosts: true }, true, "stays"],
  [CHEAPEST, { rents: false, ownCosts: true }, false, undefined],
  [FASTEST, { rents: true, ownCosts: false }, false, "compares"],
  [rent(60), { rents: true, ownCosts: true }, false, "stays"],
] as const)("before a decision, %j with %j, ran before: %p, is marked %p", (policy, market, begun, mark) => {
  expect(burstMarkOf(aJob("j1", { begun }), policy, undefined, market).burst).toBe(mark);
});

describe("a round of the scheduler", () => {
  const rented: Host = { ...(cluster(1, 0, 0, "cloud").hosts[0] as Host), ask: true, rented: true, pool: null };
  const own = cluster(1, 1);
  const capacity: Capacity = { ...own, hosts: [...own.hosts, rented] };
  const start = (burst: BurstMark | undefined, more: Partial<Parameters<typeof aJob>[1]> = {}, free = true) => {
    const busy = aJob("busy", { wants: { gpus: 1 } });
    const [host] = own.hosts;
    const running = {
      job: busy,
      hostId: host?.id ?? null,
      gpus: host?.gpus.map(({ uuid }) => uuid) ?? [],
      startedAt: 0,
      left: { low: 1000, high: 2000 },
      preemptible: false,
      preempting: false,
    };
    const queued = [aJob("j", { wants: { gpus: 1 }, ...(burst ? { burst } : {}), ...more })];
    const round = schedule(anInput(capacity, { queued, running: free ? [] : [running] }));
    return round.starts[0]?.hostId ?? round.waits.get("j")?.code ?? null;
  };
  const host = own.hosts[0]?.id ?? "";

  test.each([
    [undefined, host, rented.id],
    ["own", host, "capacity"],
    ["stays", host, "capacity"],
    ["leaves", rented.id, rented.id],
    ["compares", "burst", "burst"],
  ] as [BurstMark | undefined, string, string][])("the mark %p", (mark, free, busy) => {
    expect(start(mark)).toBe(free);
    expect(start(mark, {}, false)).toBe(busy);
  });

  test("a job that no own machine could run waits by its policy, and is not failed", () => {
    expect(start("own", { wants: { gpus: 8 } })).toBe("burst");
    expect(start("stays", { wants: { gpus: 8 } })).toBe("capacity");
    expect(start(undefined, { wants: { gpus: 8 } })).toBe(rented.id);
  });

  test("a job that leaves reserves no own GPU, one that stays does", () => {
    const queued = (burst: BurstMark) => [aJob("j", { wants: { gpus: 1 }, burst, noRent: false })];
    const full = { ...capacity, hosts: [own.hosts[0] as Host, { ...rented, state: "cordoned" as const }] };
    const busy = {
      job: aJob("busy", { wants: { gpus: 1 } }),
      hostId: host,
      gpus: own.hosts[0]?.gpus.map(({ uuid }) => uuid) ?? [],
      startedAt: 0,
      left: { low: 1000, high: 2000 },
      preemptible: false,
      preempting: false,
    };
    const of = (burst: BurstMark) => schedule(anInput(full, { queued: queued(burst), running: [busy] })).reservations;
    expect(of("leaves")).toEqual([]);
    expect(of("stays").map(({ jobId }) => jobId)).toEqual(["j"]);
  });
});
