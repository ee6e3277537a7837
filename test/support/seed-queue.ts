/** A seeded queue: work on the cards of one machine, and waiting work of two teams with everything a place can be. */
import { OWN_MACHINE } from "../../plugins/shared/own-machine.ts";
import type { Actor, Ctx } from "../../src/ctx.ts";
import { organization } from "../../src/db/schema/auth.ts";
import { gpuAllocation } from "../../src/db/schema/hosts.ts";
import { job, teamShare } from "../../src/db/schema/jobs.ts";
import { addAttempt, HOUR, idOf, type JobRow, jobRow, MINUTE, need, running } from "./seed-rows.ts";

const OTHERS = "org_searchseed";

interface Wish {
  name: string;
  gpus: number;
  /** Minutes it takes, at least and at most. */
  takes?: [number, number];
  other?: boolean;
  place?: Partial<JobRow>;
}

/** Adds a second team, three running jobs on GPUs of `docker.atlas`, and seven waiting ones. */
export async function addQueue(ctx: Ctx, actor: Actor): Promise<void> {
  const now = ctx.clock.now();
  const team = (other?: boolean): Actor => (other ? { ...actor, org: OTHERS } : actor);
  const row = (n: number, state: JobRow["state"], wish: Wish, ago: number): JobRow => {
    const made = jobRow(team(wish.other), now, n, state);
    const [low, high] = wish.takes ?? [null, null];
    return {
      ...made,
      name: wish.name,
      createdAt: now - ago,
      queuedAt: now - ago,
      startedAt: state === "running" ? now - ago : null,
      spec: { ...made.spec, need: { ...need, gpus: wish.gpus, gpu_memory_mb: wish.gpus > 0 ? 60_000 : 0 } },
      estimateLowS: low === null ? null : low * 60,
      estimateHighS: high === null ? null : high * 60,
      ...(state === "running" ? { ...running(88), progressAt: now } : {}),
      ...wish.place,
    };
  };
  const runs: [JobRow, number[]][] = [
    [
      row(
        2000,
        "running",
        { name: "intent-llama-8b", gpus: 2, takes: [90, 150], place: { deadline: now + 30 * MINUTE } },
        HOUR,
      ),
      [0, 1],
    ],
    [row(2001, "running", { name: "rerank-qwen-7b", gpus: 1, takes: [200, 320] }, 2 * HOUR), [2]],
    [
      row(2002, "running", { name: "clicks-mistral", gpus: 4, takes: [300, 500], other: true }, 40 * MINUTE),
      [4, 5, 6, 7],
    ],
  ];
  for (const [one, eta] of [
    [runs[0], 5400],
    [runs[1], 1500],
    [runs[2], 14_000],
  ] as const)
    if (one) one[0].progress = { ...one[0].progress, eta_s: eta };
  const waiting = [
    row(
      2010,
      "queued",
      { name: "support-70b-all-cards", gpus: 8, takes: [400, 700], place: { priority: 20 } },
      3 * HOUR,
    ),
    row(
      2011,
      "queued",
      {
        name: "release-candidate",
        gpus: 2,
        takes: [60, 120],
        place: { deadline: now + HOUR, burst: { type: "burst", wait_over_s: 1800, cost_under_usd: 20 } },
      },
      50 * MINUTE,
    ),
    row(2012, "queued", { name: "ranking-ablation", gpus: 4, takes: [80, 100], other: true }, 45 * MINUTE),
    row(
      2013,
      "queued",
      {
        name: "nightly-refresh",
        gpus: 1,
        takes: [30, 40],
        place: { window: { from: "22:00", until: "06:00", tz: "Europe/Berlin", days: [1, 2, 3, 4, 5] } },
      },
      40 * MINUTE,
    ),
    row(
      2014,
      "queued",
      { name: "after-the-labels-arrive", gpus: 1, takes: [30, 40], place: { startAfter: now + 20 * HOUR } },
      20 * MINUTE,
    ),
    row(
      2015,
      "queued",
      { name: "what-if-sweep", gpus: 1, place: { priority: -50, burst: { type: "local_only" } } },
      15 * MINUTE,
    ),
    row(2016, "queued", { name: "ranking-sweep", gpus: 2, takes: [20, 30], other: true }, 10 * MINUTE),
  ];
  await ctx.write(async (tx) => {
    await tx
      .insert(organization)
      .values({ id: OTHERS, name: "Search relevance", slug: "search-relevance", createdAt: new Date(now) });
    await tx.insert(job).values([...runs.map(([one]) => one), ...waiting]);
    await tx.insert(teamShare).values([
      { org: actor.org, weight: 2, maxGpus: null, monthGpuHours: 4000, updatedAt: now },
      { org: OTHERS, weight: 1, maxGpus: 4, monthGpuHours: null, updatedAt: now },
    ]);
    await tx.delete(gpuAllocation);
  });
  for (const [one, cards] of runs) {
    const open = { state: "running" as const, outcome: null, exitCode: null, endedAt: null };
    await addAttempt(ctx, one, 1, { ...open, provider: "docker", offer: offerOn(cards.length) });
    await ctx.write((tx) =>
      tx.insert(gpuAllocation).values(
        cards.map((n) => ({
          gpuUuid: `GPU-0000000${n}-atlas`,
          share: 0,
          attemptId: `att_${one.id}1`,
          jobId: one.id ?? "",
          createdAt: now,
        })),
      ),
    );
  }
}

const offerOn = (gpus: number) => ({
  id: "atlas",
  location: "atlas.gpu.example.internal",
  gpus,
  gpuName: "NVIDIA H100 80GB HBM3",
  gpuMemoryMb: 81_559,
  cpus: 64,
  memoryMb: 515_000,
  ...OWN_MACHINE,
  startsInS: 0,
  available: true,
});

/** A waiting job of the seed: `n` from 0 to 6. */
export const waitingJob = (n: number) => idOf("ftjob-", 2010 + n);
