/** One scheduling round as tables: a situation and its decision per row. */
import { describe, expect, test } from "bun:test";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { DailyWindow, Input, Job, Running } from "../../src/training/scheduler/types.ts";
import { aJob, anInput, aTeam, card, cluster, DAY, HOUR, MINUTE, START } from "../support/cluster.ts";
import { hours, type More, runs } from "../support/scheduling.ts";

const begun = (input: Input) => schedule(input).starts.map((one) => one.jobId);
const slots = (train: number, serve = 1) => ({
  pools: { here: { train, serve } },
  hosts: [
    {
      id: "process.local",
      provider: "process",
      state: "ready" as const,
      cpus: 4,
      memoryMb: 8000,
      gpus: [],
      pool: "here",
      ask: false,
    },
  ],
});

describe("the next job", () => {
  const rows: [string, Job[], Partial<Input>, string[]][] = [
    ["is the oldest", [aJob("new", { queuedAt: START + 5 }), aJob("old")], {}, ["old"]],
    [
      "is the one with the higher priority",
      [aJob("old"), aJob("high", { priority: 5, queuedAt: START + 5 })],
      {},
      ["high"],
    ],
    [
      "is of the team with less usage for its weight",
      [aJob("x", { team: "big" }), aJob("y", { team: "small" })],
      { teams: [aTeam("big", { used: 90, weight: 10 }), aTeam("small", { used: 10 })] },
      ["x"],
    ],
    [
      "is an endpoint, before training jobs",
      [aJob("t"), aJob("s", { kind: "serve", queuedAt: START + 5 })],
      {},
      ["s", "t"],
    ],
    [
      "within a team, is the one with an urgent deadline",
      [
        aJob("old", { estimate: hours(1) }),
        aJob("due", { queuedAt: START + 5, deadline: START + 2 * HOUR, estimate: hours(1.5) }),
      ],
      {},
      ["due"],
    ],
    [
      "does not depend on a distant deadline",
      [aJob("old"), aJob("due", { queuedAt: START + 5, deadline: START + 9 * DAY, estimate: hours(1) })],
      {},
      ["old"],
    ],
    [
      "is the first of a low priority once it has waited long enough",
      [aJob("low", { priority: -10, queuedAt: START - 35 * HOUR }), aJob("fresh")],
      {},
      ["low"],
    ],
    [
      "is not a later job of that low priority",
      [
        aJob("low1", { priority: -10, queuedAt: START - 36 * HOUR, startAfter: START + 1 }),
        aJob("low2", { priority: -10, queuedAt: START - 35 * HOUR }),
        aJob("fresh", { queuedAt: START }),
      ],
      {},
      ["fresh"],
    ],
  ];
  test.each(rows)("%s", (_, queued, more, first) => {
    expect(begun(anInput(slots(1), { queued, ...more }))).toEqual(first);
  });

  test("teams take turns when many jobs start at once", () => {
    const queued = ["a", "b"].flatMap((team) =>
      [1, 2, 3].map((n) => aJob(`${team}${n}`, { team, wants: { gpus: 1 } })),
    );
    expect(begun(anInput(cluster(1, 4), { queued }))).toEqual(["a1", "b1", "a2", "b2"]);
  });
});

describe("a job waits for", () => {
  const night: DailyWindow = { from: "22:00", until: "06:00", tz: "UTC" };
  const rows: [string, Partial<Job>, Partial<Input>, Record<string, unknown>][] = [
    ["its earliest start", { startAfter: START + HOUR }, {}, { code: "not_before", until: START + HOUR }],
    ["its retry after a failure", { retryAt: START + 1000 }, {}, { code: "retry", until: START + 1000 }],
    ["the end of its last attempt", { ending: true }, {}, { code: "ending" }],
    ["its window", { window: night }, { now: START + 12 * HOUR }, { code: "window", until: START + 22 * HOUR }],
    [
      "the GPU limit of its team",
      { wants: { gpus: 2 } as Job["wants"] },
      { teams: [aTeam("a", { maxGpus: 3 })], running: [runs("r", 2)] },
      { code: "quota_gpus" },
    ],
    [
      "a GPU limit it can never meet",
      { wants: { gpus: 4 } as Job["wants"] },
      { teams: [aTeam("a", { maxGpus: 3 })] },
      { code: "quota_gpus_never" },
    ],
    [
      "the GPU-hours of its team",
      { wants: { gpus: 1 } as Job["wants"] },
      { teams: [aTeam("a", { monthGpuHours: 10, usedThisMonth: 10 })] },
      { code: "quota_hours", until: START + 28 * DAY },
    ],
    [
      "GPU-hours that running jobs will use",
      { wants: { gpus: 1 } as Job["wants"], estimate: hours(3) },
      { teams: [aTeam("a", { monthGpuHours: 10, usedThisMonth: 4 })], running: [runs("r", 1, { left: hours(4) })] },
      { code: "quota_hours" },
    ],
    ["more GPUs than any host has", { wants: { gpus: 9 } as Job["wants"] }, {}, { code: "never" }],
    [
      "a GPU larger than any host has",
      { wants: { gpus: 1, gpuMemoryMb: 99_000 } as Job["wants"] },
      {},
      { code: "never" },
    ],
    ["an unknown provider", { wants: { gpus: 1, provider: "other" } as Job["wants"] }, {}, { code: "never" }],
    [
      "running jobs",
      { wants: { gpus: 8 } as Job["wants"] },
      { running: [runs("r", 2, { left: hours(1, 2) })] },
      { code: "capacity", behind: ["r"], host: "h0", at: hours(1, 2) },
    ],
  ];
  test.each(rows)("%s", (_, job, more, expected) => {
    const round = schedule(anInput(cluster(1, 8), { queued: [aJob("j", job)], ...more }));
    expect(round.starts).toEqual([]);
    expect(round.waits.get("j")).toMatchObject(expected);
  });

  test("a payment, on rented machines only, when the invoice of its team is late", () => {
    const own = cluster(1, 2);
    const rented = { ...cluster(1, 0, 0, "cloud").hosts[0], ask: true, pool: null } as (typeof own.hosts)[number];
    const capacity = { ...own, hosts: [...own.hosts, rented] };
    const queued = [
      aJob("small", { late: "unpaid", wants: { gpus: 1 } }),
      aJob("large", { late: "unpaid", wants: { gpus: 8 } }),
      aJob("paid", { team: "b", wants: { gpus: 8 } }),
    ];
    const round = schedule(anInput(capacity, { queued }));
    expect(Object.fromEntries(round.starts.map(({ jobId, hostId }) => [jobId, hostId]))).toEqual({
      small: "h0",
      paid: "cloud0",
    });
    expect(round.waits.get("large")?.code).toBe("budget");
  });

  test("a host that accepts jobs", () => {
    const capacity = cluster(1, 8);
    const away = { ...capacity, hosts: capacity.hosts.map((host) => ({ ...host, state: "cordoned" as const })) };
    const round = schedule(anInput(away, { queued: [aJob("j", { wants: { gpus: 1 } })] }));
    expect(round.waits.get("j")?.code).toBe("hosts_away");
  });

  test("the round names the next time at which a wait ends", () => {
    const queued = [aJob("a", { startAfter: START + 9 }), aJob("b", { retryAt: START + 5 })];
    expect(schedule(anInput(slots(1), { queued })).nextAt).toBe(START + 5);
  });
});

describe("a job is placed on", () => {
  test("the tightest host, so that eight free GPUs stay together", () => {
    const input = anInput(cluster(2, 8), {
      queued: [aJob("j", { wants: { gpus: 2 } })],
      running: [runs("r", 5, { host: "h1" })],
    });
    expect(schedule(input).starts[0]).toMatchObject({ hostId: "h1", gpus: ["h1.5", "h1.6"] });
  });

  test("the smallest GPU that is large enough", () => {
    const [big, small] = [cluster(1, 1, 80_000, "big"), cluster(1, 1, 24_000, "small")];
    const capacity = { pools: {}, hosts: [...big.hosts, ...small.hosts] };
    const start = (gpuMemoryMb: number) =>
      schedule(anInput(capacity, { queued: [aJob("j", { wants: { gpus: 1, gpuMemoryMb } })] })).starts[0]?.hostId;
    expect([start(20_000), start(40_000)]).toEqual(["small0", "big0"]);
  });

  test("several equal GPUs in one host, and never slices", () => {
    const host = cluster(1, 0).hosts[0];
    if (!host) throw new Error("no host");
    const gpus = [card("a", 80_000), card("b", 40_000), card("MIG-1", 20_000), card("MIG-2", 20_000)];
    const capacity = { pools: {}, hosts: [{ ...host, gpus }] };
    const round = schedule(
      anInput(capacity, { queued: [aJob("two", { wants: { gpus: 2 } }), aJob("one", { wants: { gpus: 1 } })] }),
    );
    expect(round.waits.get("two")?.code).toBe("never");
    expect(round.starts[0]?.gpus).toEqual(["MIG-1"]);
  });

  test("a shared GPU up to its number of shares", () => {
    const host = cluster(1, 0).hosts[0];
    if (!host) throw new Error("no host");
    const capacity = { pools: {}, hosts: [{ ...host, gpus: [card("a", 80_000, 2)] }] };
    const queued = ["1", "2", "3"].map((id) => aJob(id, { wants: { gpus: 1 } }));
    expect(begun(anInput(capacity, { queued }))).toEqual(["1", "2"]);
  });

  test("rented machines after own ones, for a few jobs per round", () => {
    const own = slots(1);
    const rented = {
      id: "*",
      provider: "*",
      state: "ready" as const,
      cpus: 0,
      memoryMb: 0,
      gpus: [],
      pool: null,
      ask: true,
    };
    const queued = Array.from({ length: 30 }, (_, n) => aJob(`j${String(n).padStart(2, "0")}`));
    const { starts } = schedule(anInput({ pools: own.pools, hosts: [...own.hosts, rented] }, { queued }));
    expect(starts.map((one) => one.hostId)).toEqual(["process.local", ...Array(8).fill("*")]);
  });
});

describe("a job on many GPUs", () => {
  const gang = aJob("gang", { wants: { gpus: 8 }, queuedAt: START - HOUR });

  test("starts with all of them or not at all", () => {
    const { starts } = schedule(anInput(cluster(2, 8), { queued: [gang], running: [runs("r", 1)] }));
    expect(starts).toMatchObject([{ jobId: "gang", hostId: "h1" }]);
    expect(starts[0]?.gpus.length).toBe(8);
  });

  test("has GPUs reserved that no other job takes", () => {
    const small = aJob("small", { wants: { gpus: 1 }, estimate: hours(4) });
    const round = schedule(
      anInput(cluster(1, 8), { queued: [gang, small], running: [runs("r", 2, { left: hours(1, 2) })] }),
    );
    expect(round.starts).toEqual([]);
    expect(round.reservations).toMatchObject([{ jobId: "gang", hostId: "h0" }]);
    expect(round.waits.get("small")).toMatchObject({ code: "reserved", behind: ["gang"] });
  });

  test.each([
    ["surely ends by then", hours(0.5, 0.9), ["small"]],
    ["may last longer", hours(0.5, 1.1), []],
    ["has an unknown length", { low: 0, high: null }, []],
  ])("lends them to a job that %s", (_, estimate, expected) => {
    const small = aJob("small", { wants: { gpus: 1 }, estimate });
    expect(
      begun(anInput(cluster(1, 8), { queued: [gang, small], running: [runs("r", 2, { left: hours(1, 2) })] })),
    ).toEqual(expected);
  });

  test("keeps its reservation when another team is next", () => {
    const queued = [gang, aJob("other", { team: "b", wants: { gpus: 1 } })];
    const input = anInput(cluster(1, 8), { queued, teams: [aTeam("a", { used: 100 }), aTeam("b")] });
    const running = [runs("r", 1, { left: hours(1) })];
    const without = schedule({ ...input, running });
    expect(without.starts.map((one) => one.jobId)).toEqual(["other"]);
    const held = [{ jobId: "gang", hostId: "h0", gpus: [], at: hours(1) }];
    const round = schedule({ ...input, running, reservations: held });
    expect(round.starts).toEqual([]);
    expect(round.waits.get("other")?.code).toBe("reserved");
  });
});

describe("preemption", () => {
  const full = (priority: number, more: More = {}) => [runs("low", 1, { job: { priority }, left: hours(5), ...more })];
  const high = (priority = 10) => aJob("high", { priority, wants: { gpus: 1 } });
  const preemptions = (running: Running[], queued = [high()]) =>
    schedule(anInput(cluster(1, 1), { queued, running })).preemptions;

  test.each([
    ["of a lower priority", full(0), ["low"]],
    ["not of an equal priority", full(10), []],
    ["not of a job that cannot save a checkpoint", full(0, { preemptible: false }), []],
    ["not of a job that has just started", full(0, { startedAt: START - MINUTE }), []],
    ["not of a job that is being preempted", full(0, { preempting: true }), []],
    ["not of a job that ends soon", full(0, { left: { low: 0, high: 2 * MINUTE } }), []],
  ])("%s", (_, running, expected) => {
    expect(preemptions(running as Running[]).map((one) => one.jobId)).toEqual(expected as string[]);
  });

  test.each([
    ["takes the lowest priority first", -50, "pair"],
    ["then the fewest GPUs, then the latest start", 0, "younger"],
  ])("%s", (_, priority, expected) => {
    const running = [
      runs("pair", 2, { job: { priority } }),
      runs("older", 1, { first: 2, startedAt: START - 3 * HOUR }),
      runs("younger", 1, { first: 3 }),
    ];
    expect(schedule(anInput(cluster(1, 4), { queued: [high()], running })).preemptions).toEqual([
      { jobId: expected, cause: "priority", forJob: "high" },
    ]);
  });

  test("takes no more jobs than needed, and reserves their GPUs", () => {
    const running = Array.from({ length: 8 }, (_, n) => runs(`r${n}`, 1, { first: n, startedAt: START - n * HOUR }));
    const queued = [
      aJob("gang", { priority: 1, wants: { gpus: 3 } }),
      aJob("late", { wants: { gpus: 1 }, estimate: hours(0.01) }),
    ];
    const round = schedule(anInput(cluster(1, 8), { queued, running }));
    expect(round.preemptions.length).toBe(3);
    expect(round.reservations[0]).toMatchObject({ jobId: "gang" });
  });

  test("frees slots too", () => {
    const running = [{ ...runs("low", 0), hostId: "process.local", gpus: [] }];
    expect(schedule(anInput(slots(1), { queued: [aJob("high", { priority: 1 })], running })).preemptions).toMatchObject(
      [{ jobId: "low" }],
    );
  });

  test.each([
    ["a draining host", "drain"],
    ["the end of a window", "window"],
    ["used-up GPU-hours", "quota"],
  ] as const)("%s preempts running jobs", (_, cause) => {
    const capacity = cluster(1, 1);
    const window: DailyWindow | null = cause === "window" ? { from: "22:00", until: "06:00", tz: "UTC" } : null;
    const hosts = capacity.hosts.map((host) => ({
      ...host,
      state: cause === "drain" ? ("draining" as const) : host.state,
    }));
    const input = anInput(
      { ...capacity, hosts },
      { now: START + 12 * HOUR, running: [runs("r", 1, { job: { window } })] },
    );
    const teams = [aTeam("a", cause === "quota" ? { monthGpuHours: 5, usedThisMonth: 5 } : {})];
    expect(schedule({ ...input, teams }).preemptions).toEqual([{ jobId: "r", cause, forJob: null }]);
  });

  test("the round names the time at which a team's GPU-hours are used up", () => {
    const teams = [aTeam("a", { monthGpuHours: 5, usedThisMonth: 3 })];
    expect(schedule(anInput(cluster(1, 4), { running: [runs("r", 4)], teams })).nextAt).toBe(START + HOUR / 2);
  });
});
