/** The scheduler as a table: one situation a row, and what is decided. */
import { describe, expect, test } from "bun:test";
import { allowForOthers, predict } from "../../src/training/scheduler/forecast.ts";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { DailyWindow, Input, Job, Running } from "../../src/training/scheduler/types.ts";
import { closesAt, isOpen, opensAt } from "../../src/training/scheduler/window.ts";
import { aJob, anInput, aTeam, card, cluster, DAY, HOUR, MINUTE, START } from "../support/cluster.ts";

const hours = (low: number, high = low) => ({ low: low * HOUR, high: high * HOUR });

type More = Partial<Omit<Running, "job">> & { first?: number; job?: Partial<Omit<Job, "wants">>; host?: string };

/** Work of `gpus` cards of host `h0` from card `first` on, that began an hour ago. */
function runs(id: string, gpus: number, more: More = {}): Running {
  const { first = 0, host = "h0", job = {}, ...rest } = more;
  return {
    job: aJob(id, { ...job, wants: { gpus } }),
    hostId: host,
    gpus: Array.from({ length: gpus }, (_, n) => `${host}.${first + n}`),
    startedAt: START - HOUR,
    left: { low: 0, high: null },
    yieldable: true,
    yielding: false,
    ...rest,
  };
}
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

describe("who is next", () => {
  const rows: [string, Job[], Partial<Input>, string[]][] = [
    ["the oldest", [aJob("new", { queuedAt: START + 5 }), aJob("old")], {}, ["old"]],
    ["the higher priority", [aJob("old"), aJob("high", { priority: 5, queuedAt: START + 5 })], {}, ["high"]],
    [
      "the team that used less for its weight",
      [aJob("x", { team: "big" }), aJob("y", { team: "small" })],
      { teams: [aTeam("big", { used: 90, weight: 10 }), aTeam("small", { used: 10 })] },
      ["x"],
    ],
    [
      "an endpoint somebody waits for is not held up by training",
      [aJob("t"), aJob("s", { kind: "serve", queuedAt: START + 5 })],
      {},
      ["s", "t"],
    ],
    [
      "within a team, the one whose deadline presses",
      [
        aJob("old", { estimate: hours(1) }),
        aJob("due", { queuedAt: START + 5, deadline: START + 2 * HOUR, estimate: hours(1.5) }),
      ],
      {},
      ["due"],
    ],
    [
      "a deadline far away changes nothing",
      [aJob("old"), aJob("due", { queuedAt: START + 5, deadline: START + 9 * DAY, estimate: hours(1) })],
      {},
      ["old"],
    ],
    [
      "the first of a low priority once it has waited long enough",
      [aJob("low", { priority: -10, queuedAt: START - 35 * HOUR }), aJob("fresh")],
      {},
      ["low"],
    ],
    [
      "but not the ones behind it",
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

  test("teams take turns when many begin at once", () => {
    const queued = ["a", "b"].flatMap((team) =>
      [1, 2, 3].map((n) => aJob(`${team}${n}`, { team, wants: { gpus: 1 } })),
    );
    expect(begun(anInput(cluster(1, 4), { queued }))).toEqual(["a1", "b1", "a2", "b2"]);
  });
});

describe("what keeps a job waiting", () => {
  const night: DailyWindow = { from: "22:00", until: "06:00", tz: "UTC" };
  const rows: [string, Partial<Job>, Partial<Input>, Record<string, unknown>][] = [
    ["its owner", { startAfter: START + HOUR }, {}, { code: "not_before", until: START + HOUR }],
    ["a pause after a failure", { retryAt: START + 1000 }, {}, { code: "retry", until: START + 1000 }],
    ["its last attempt", { ending: true }, {}, { code: "ending" }],
    ["its window", { window: night }, { now: START + 12 * HOUR }, { code: "window", until: START + 22 * HOUR }],
    [
      "the team's GPUs",
      { wants: { gpus: 2 } as Job["wants"] },
      { teams: [aTeam("a", { maxGpus: 3 })], running: [runs("r", 2)] },
      { code: "quota_gpus" },
    ],
    [
      "a quota it can never meet",
      { wants: { gpus: 4 } as Job["wants"] },
      { teams: [aTeam("a", { maxGpus: 3 })] },
      { code: "quota_gpus_never" },
    ],
    [
      "the team's hours",
      { wants: { gpus: 1 } as Job["wants"] },
      { teams: [aTeam("a", { monthGpuHours: 10, usedThisMonth: 10 })] },
      { code: "quota_hours", until: START + 28 * DAY },
    ],
    [
      "hours that running work will need",
      { wants: { gpus: 1 } as Job["wants"], estimate: hours(3) },
      { teams: [aTeam("a", { monthGpuHours: 10, usedThisMonth: 4 })], running: [runs("r", 1, { left: hours(4) })] },
      { code: "quota_hours" },
    ],
    ["nothing that could run it", { wants: { gpus: 9 } as Job["wants"] }, {}, { code: "never" }],
    ["a card of that size nowhere", { wants: { gpus: 1, gpuMemoryMb: 99_000 } as Job["wants"] }, {}, { code: "never" }],
    ["a provider that is not there", { wants: { gpus: 1, provider: "other" } as Job["wants"] }, {}, { code: "never" }],
    [
      "others",
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

  test("hosts that take nothing now", () => {
    const capacity = cluster(1, 8);
    const away = { ...capacity, hosts: capacity.hosts.map((host) => ({ ...host, state: "cordoned" as const })) };
    const round = schedule(anInput(away, { queued: [aJob("j", { wants: { gpus: 1 } })] }));
    expect(round.waits.get("j")?.code).toBe("hosts_away");
  });

  test("the round says when time alone opens something", () => {
    const queued = [aJob("a", { startAfter: START + 9 }), aJob("b", { retryAt: START + 5 })];
    expect(schedule(anInput(slots(1), { queued })).nextAt).toBe(START + 5);
  });
});

describe("where", () => {
  test("the tightest host, so that eight free cards stay together", () => {
    const input = anInput(cluster(2, 8), {
      queued: [aJob("j", { wants: { gpus: 2 } })],
      running: [runs("r", 5, { host: "h1" })],
    });
    expect(schedule(input).starts[0]).toMatchObject({ hostId: "h1", gpus: ["h1.5", "h1.6"] });
  });

  test("the smallest card that is large enough", () => {
    const [big, small] = [cluster(1, 1, 80_000, "big"), cluster(1, 1, 24_000, "small")];
    const capacity = { pools: {}, hosts: [...big.hosts, ...small.hosts] };
    const start = (gpuMemoryMb: number) =>
      schedule(anInput(capacity, { queued: [aJob("j", { wants: { gpus: 1, gpuMemoryMb } })] })).starts[0]?.hostId;
    expect([start(20_000), start(40_000)]).toEqual(["small0", "big0"]);
  });

  test("several GPUs are of one kind, in one host, and never slices", () => {
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

  test("a card divided by its administrator takes so many jobs and no more", () => {
    const host = cluster(1, 0).hosts[0];
    if (!host) throw new Error("no host");
    const capacity = { pools: {}, hosts: [{ ...host, gpus: [card("a", 80_000, 2)] }] };
    const queued = ["1", "2", "3"].map((id) => aJob(id, { wants: { gpus: 1 } }));
    expect(begun(anInput(capacity, { queued }))).toEqual(["1", "2"]);
  });

  test("providers that must be asked come after own machines, a few at a time", () => {
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

describe("work on many GPUs", () => {
  const gang = aJob("gang", { wants: { gpus: 8 }, queuedAt: START - HOUR });

  test("begins with all of them or not at all", () => {
    const { starts } = schedule(anInput(cluster(2, 8), { queued: [gang], running: [runs("r", 1)] }));
    expect(starts).toMatchObject([{ jobId: "gang", hostId: "h1" }]);
    expect(starts[0]?.gpus.length).toBe(8);
  });

  test("has cards kept for it that nobody else takes", () => {
    const small = aJob("small", { wants: { gpus: 1 }, estimate: hours(4) });
    const round = schedule(
      anInput(cluster(1, 8), { queued: [gang, small], running: [runs("r", 2, { left: hours(1, 2) })] }),
    );
    expect(round.starts).toEqual([]);
    expect(round.reservations).toMatchObject([{ jobId: "gang", hostId: "h0" }]);
    expect(round.waits.get("small")).toMatchObject({ code: "reserved", behind: ["gang"] });
  });

  test.each([
    ["is surely over by then", hours(0.5, 0.9), ["small"]],
    ["may last longer", hours(0.5, 1.1), []],
    ["nobody knows the length of", { low: 0, high: null }, []],
  ])("lends them to a job that %s", (_, estimate, expected) => {
    const small = aJob("small", { wants: { gpus: 1 }, estimate });
    expect(
      begun(anInput(cluster(1, 8), { queued: [gang, small], running: [runs("r", 2, { left: hours(1, 2) })] })),
    ).toEqual(expected);
  });

  test("keeps its place when its team's turn goes by", () => {
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

describe("making room", () => {
  const full = (priority: number, more: More = {}) => [runs("low", 1, { job: { priority }, left: hours(5), ...more })];
  const high = (priority = 10) => aJob("high", { priority, wants: { gpus: 1 } });
  const yields = (running: Running[], queued = [high()]) =>
    schedule(anInput(cluster(1, 1), { queued, running })).yields;

  test.each([
    ["a lower priority saves and lets go", full(0), ["low"]],
    ["an equal one is left alone", full(10), []],
    ["what cannot save is left alone", full(0, { yieldable: false }), []],
    ["what has just begun is left alone", full(0, { startedAt: START - MINUTE }), []],
    ["what was asked is not asked again", full(0, { yielding: true }), []],
    ["what ends in a moment is waited for", full(0, { left: { low: 0, high: 2 * MINUTE } }), []],
  ])("%s", (_, running, expected) => {
    expect(yields(running as Running[]).map((one) => one.jobId)).toEqual(expected as string[]);
  });

  test.each([
    ["the lowest priority", -50, "pair"],
    ["then the fewest GPUs, then the one that began last", 0, "younger"],
  ])("%s", (_, priority, expected) => {
    const running = [
      runs("pair", 2, { job: { priority } }),
      runs("older", 1, { first: 2, startedAt: START - 3 * HOUR }),
      runs("younger", 1, { first: 3 }),
    ];
    expect(schedule(anInput(cluster(1, 4), { queued: [high()], running })).yields).toEqual([
      { jobId: expected, cause: "priority", forJob: "high" },
    ]);
  });

  test("as many as a gang needs and none more, and their cards are kept for it", () => {
    const running = Array.from({ length: 8 }, (_, n) => runs(`r${n}`, 1, { first: n, startedAt: START - n * HOUR }));
    const queued = [
      aJob("gang", { priority: 1, wants: { gpus: 3 } }),
      aJob("late", { wants: { gpus: 1 }, estimate: hours(0.01) }),
    ];
    const round = schedule(anInput(cluster(1, 8), { queued, running }));
    expect(round.yields.length).toBe(3);
    expect(round.reservations[0]).toMatchObject({ jobId: "gang" });
  });

  test("of slots too", () => {
    const running = [{ ...runs("low", 0), hostId: "process.local", gpus: [] }];
    expect(schedule(anInput(slots(1), { queued: [aJob("high", { priority: 1 })], running })).yields).toMatchObject([
      { jobId: "low" },
    ]);
  });

  test.each([
    ["a drained host", "drain"],
    ["the end of a window", "window"],
    ["hours that are used up", "quota"],
  ] as const)("%s asks running work to save and let go", (_, cause) => {
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
    expect(schedule({ ...input, teams }).yields).toEqual([{ jobId: "r", cause, forJob: null }]);
  });

  test("the round says when a team's hours will be used up", () => {
    const teams = [aTeam("a", { monthGpuHours: 5, usedThisMonth: 3 })];
    expect(schedule(anInput(cluster(1, 4), { running: [runs("r", 4)], teams })).nextAt).toBe(START + HOUR / 2);
  });
});

describe("windows", () => {
  const berlin: DailyWindow = { from: "22:00", until: "06:00", tz: "Europe/Berlin" };
  const at = (text: string) => Date.parse(text);
  test.each([
    [berlin, "2026-11-02T20:59:00Z", false],
    [berlin, "2026-11-02T21:00:00Z", true],
    [berlin, "2026-11-03T04:59:00Z", true],
    [berlin, "2026-11-03T05:00:00Z", false],
    [{ ...berlin, days: [1] }, "2026-11-03T03:00:00Z", true],
    [{ ...berlin, days: [2] }, "2026-11-03T03:00:00Z", false],
    [{ from: "09:00", until: "17:30", tz: "Asia/Kolkata" }, "2026-11-02T11:59:00Z", true],
  ])("%o at %s is open: %p", (window, moment, open) => {
    expect(isOpen(window as DailyWindow, at(moment as string))).toBe(open as boolean);
  });

  test.each([
    ["in winter", "2026-11-02T12:00:00Z", "2026-11-02T21:00:00.000Z"],
    ["over the end of summer time", "2026-10-24T21:00:00Z", "2026-10-25T21:00:00.000Z"],
    ["over its begin", "2027-03-27T22:00:00Z", "2027-03-28T20:00:00.000Z"],
  ])("opens next %s", (_, from, expected) => {
    expect(new Date(opensAt(berlin, at(from)) ?? 0).toISOString()).toBe(expected);
  });

  test("closes in the night the clocks go back an hour later", () => {
    expect(new Date(closesAt(berlin, at("2026-10-24T21:00:00Z")) ?? 0).toISOString()).toBe("2026-10-25T05:00:00.000Z");
  });
});

describe("the start foretold", () => {
  const of = (input: Input) => predict(input, schedule(input).order);

  test("as told to people it allows for jobs that come in between, where others can lengthen the wait", () => {
    const found = { low: START + HOUR, high: START + 3 * HOUR, why: null };
    expect(allowForOthers(found, START, "capacity")).toEqual({ ...found, high: START + 6 * HOUR });
    expect(allowForOthers(found, START, "window")).toEqual(found);
    expect(allowForOthers({ ...found, high: null }, START, "capacity")).toEqual({ ...found, high: null });
  });

  test("is a range between quick and slow", () => {
    const input = anInput(cluster(1, 1), {
      queued: [aJob("j", { wants: { gpus: 1 } })],
      running: [runs("r", 1, { left: hours(1, 3) })],
    });
    expect(of(input).get("j")).toEqual({ low: START + HOUR, high: START + 3 * HOUR, why: null });
  });

  test("adds up what is before it", () => {
    const queued = [
      aJob("1", { wants: { gpus: 1 }, estimate: hours(1, 2) }),
      aJob("2", { wants: { gpus: 1 }, queuedAt: START + 1 }),
    ];
    const input = anInput(cluster(1, 1), { queued, running: [runs("r", 1, { left: hours(1, 3) })] });
    expect(of(input).get("2")).toEqual({ low: START + 2 * HOUR, high: START + 5 * HOUR, why: null });
  });

  test("is unknown when nobody knows how long the others take, and says so", () => {
    const input = anInput(cluster(1, 1), { queued: [aJob("j", { wants: { gpus: 1 } })], running: [runs("r", 1)] });
    expect(of(input).get("j")).toMatchObject({ high: null, why: "It is not known how long the work before it takes." });
  });

  test("knows windows", () => {
    const window: DailyWindow = { from: "22:00", until: "06:00", tz: "UTC" };
    const input = anInput(cluster(1, 1), {
      now: START + 12 * HOUR,
      queued: [aJob("j", { wants: { gpus: 1 }, window })],
    });
    expect(of(input).get("j")).toEqual({ low: START + 22 * HOUR, high: START + 22 * HOUR, why: null });
  });
});
