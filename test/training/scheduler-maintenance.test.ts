/** Maintenance in one scheduling round and in the forecast: who starts, who waits and why, who is preempted. */
import { describe, expect, test } from "bun:test";
import { predict } from "../../src/training/scheduler/forecast.ts";
import { schedule } from "../../src/training/scheduler/round.ts";
import type { Capacity, Job, Maintenance, Running } from "../../src/training/scheduler/types.ts";
import { aJob, anInput, HOUR, START } from "../support/cluster.ts";
import { hours, runs } from "../support/scheduling.ts";

const from = START + 10 * HOUR;
const until = from + 2 * HOUR;
const window = (more: Partial<Maintenance> = {}): Maintenance => ({
  from,
  until,
  leadMs: HOUR,
  trainings: "wait",
  endpoints: "stay",
  ...more,
});
/** This machine, with two slots of each kind. */
const here: Capacity = {
  pools: { here: { train: 2, serve: 2 } },
  hosts: [
    { id: "own", provider: "process", state: "ready", cpus: 4, memoryMb: 8000, gpus: [], pool: "here", ask: false },
  ],
};
const aWaiting = (more: Partial<Omit<Job, "wants">> = {}) => aJob("j", more);
const round = (now: number, job: Job | null, maintenance: Maintenance[], running: Running[] = []) =>
  schedule(anInput(here, { now, queued: job ? [job] : [], maintenance, running }));

describe("a job that waits", () => {
  const rows: [string, Job, Partial<Maintenance>, hoursBefore: number, starts: boolean][] = [
    ["starts when it can end before the maintenance", aWaiting({ estimate: hours(1, 9) }), {}, 10, true],
    ["starts when it ends at the very start", aWaiting({ estimate: hours(1, 10) }), {}, 10, true],
    ["waits when it may end later", aWaiting({ estimate: hours(1, 10.01) }), {}, 10, false],
    ["starts without an estimate before the lead time", aWaiting(), {}, 1.01, true],
    ["waits without an estimate within the lead time", aWaiting(), {}, 1, false],
    ["waits without an estimate within a longer lead time", aWaiting(), { leadMs: 5 * HOUR }, 4, false],
    [
      "starts when trainings may be interrupted",
      aWaiting({ estimate: hours(20) }),
      { trainings: "interrupt" },
      10,
      true,
    ],
    [
      "waits although trainings may be interrupted, being an evaluation",
      aWaiting({ kind: "evaluate", estimate: hours(20) }),
      { trainings: "interrupt" },
      10,
      false,
    ],
    ["waits while it runs", aWaiting({ estimate: hours(0.1) }), { trainings: "interrupt" }, -1, false],
    ["starts at its end", aWaiting({ estimate: hours(20) }), {}, -2, true],
    ["is an endpoint, which stays: it starts before it", aWaiting({ kind: "serve" }), {}, 1, true],
    ["is an endpoint, which stays: it starts in it", aWaiting({ kind: "serve" }), {}, -1, true],
    ["is an endpoint that stops: it waits in it", aWaiting({ kind: "serve" }), { endpoints: "stop" }, -1, false],
    ["is an endpoint that stops: it starts before it", aWaiting({ kind: "serve" }), { endpoints: "stop" }, 1, true],
  ];
  test.each(rows)("%s", (_, job, more, hoursBefore, starts) => {
    const { starts: started, waits } = round(from - hoursBefore * HOUR, job, [window(more)]);
    expect(started.map(({ jobId }) => jobId)).toEqual(starts ? ["j"] : []);
    if (!starts) expect(waits.get("j")).toMatchObject({ code: "maintenance", from, until });
  });

  test("waits for the second window when it fits before the first one only", () => {
    const second = window({ from: until + HOUR, until: until + 3 * HOUR });
    const { waits } = round(until, aWaiting({ estimate: hours(2) }), [window(), second]);
    expect(waits.get("j")).toMatchObject({ code: "maintenance", from: second.from, until: second.until });
  });

  test("is forecast to start after the maintenance", () => {
    const input = anInput(here, { queued: [aWaiting({ estimate: hours(11) })], maintenance: [window()] });
    expect(predict(input, ["j"]).get("j")).toMatchObject({ low: until, high: until });
  });
});

describe("a job that runs", () => {
  const work = (more: Parameters<typeof runs>[2] = {}) =>
    runs("r", 0, { host: "own", left: hours(5), stoppable: true, ...more });

  test("is preempted at the start, not before, and the next round is due then", () => {
    expect(round(from - 1, null, [window()], [work()]).preemptions).toEqual([]);
    expect(round(from - 1, null, [window()], [work()]).nextAt).toBe(from);
    expect(round(from, null, [window()], [work()]).preemptions).toEqual([
      { jobId: "r", cause: "maintenance", forJob: null },
    ]);
    expect(round(from, null, [window()], [work()]).nextAt).toBe(until);
    expect(round(until, null, [window()], [work()]).preemptions).toEqual([]);
  });

  test("is stopped although it cannot save a checkpoint, being an evaluation", () => {
    const evaluation = work({ preemptible: false, job: { kind: "evaluate" } });
    expect(round(from, null, [window()], [evaluation]).preemptions).toHaveLength(1);
  });

  test.each([
    ["is an endpoint", { stoppable: false }],
    ["saves one already", { preempting: true }],
  ])("is left alone when it %s", (_, more) => {
    expect(round(from, null, [window()], [work(more)]).preemptions).toEqual([]);
  });
});
