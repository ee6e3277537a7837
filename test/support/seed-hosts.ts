/**
 * Seeded machines: one with eight cards and a day of curves, one with MIG slices; in the failing form, lost and silent
 * ones.
 */
import type { Ctx } from "../../src/ctx.ts";
import { gpu, host, hostSample } from "../../src/db/schema/hosts.ts";
import { rng } from "./seed-run.ts";

type Gpu = typeof gpu.$inferInsert;

/** Adds the machines beside this one. */
export async function addHosts(ctx: Ctx, failing: boolean): Promise<void> {
  const now = ctx.clock.now();
  const machine = (id: string, name: string, more: Partial<typeof host.$inferInsert> = {}) => ({
    id: `docker.${id}`,
    provider: "docker",
    name,
    cpus: 64,
    memoryMb: 515_000,
    memoryFreeMb: 210_000,
    load: 21.4,
    diskMb: 3_500_000,
    diskFreeMb: 1_900_000,
    driver: "580.65.06",
    cuda: "13.0",
    createdAt: now - 9e8,
    seenAt: now,
    ...more,
  });
  const silent = {
    seenAt: now - 400_000,
    problem: "connect ETIMEDOUT 10.4.0.12:2376",
    remedy: "Check that the machine runs and that its Docker Engine listens.",
  };
  await ctx.write((tx) =>
    tx
      .insert(host)
      .values([
        machine(
          "atlas",
          "atlas.gpu.example.internal",
          failing ? { problem: "A GPU no longer answers on the bus." } : {},
        ),
        machine(
          "mig",
          "rhea.gpu.example.internal",
          failing ? silent : { state: "draining", note: "Driver update on Friday." },
        ),
      ]),
  );
  const random = rng(11);
  const card = (hostId: string, position: number, model: string, memoryMb: number): Gpu => ({
    uuid: `GPU-0000000${position}-${hostId}`,
    hostId: `docker.${hostId}`,
    position,
    model,
    memoryMb,
    memoryUsedMb: Math.round(memoryMb * random()),
    utilization: Math.round(100 * random()),
    eccErrors: 0,
    temperatureC: Math.round(34 + 40 * random()),
    powerW: Math.round(90 + 500 * random()),
    powerLimitW: 700,
    createdAt: now - 9e8,
    seenAt: now,
  });
  const atlas = Array.from({ length: 8 }, (_, n) => card("atlas", n, "NVIDIA H100 80GB HBM3", 81_559));
  const slices = Array.from({ length: 3 }, (_, n) => ({
    ...card("mig", n, "NVIDIA A100-SXM4-80GB", 19_968),
    uuid: `MIG-0000000${n}-mig`,
    position: 0,
    parent: "GPU-parent",
    profile: "2g.20gb",
    utilization: null,
  }));
  if (failing && atlas[3]) atlas[3].lostAt = now - 60_000;
  await ctx.write((tx) => tx.insert(gpu).values([...atlas, ...slices]));
  if (failing) return;
  const samples = [...atlas.map((one) => one.uuid), "docker.atlas"].flatMap((source, n) =>
    Array.from({ length: 480 }, (_, k) => {
      const busy = Math.sin(k / 40 + n) > -0.3 ? 1 : 0.08;
      return {
        source,
        at: now - k * 45_000,
        utilization: Math.min(100, busy * (82 + 18 * random())),
        memoryUsedMb: Math.round(busy * 61_000 + 900 * random()),
        temperatureC: 36 + busy * (28 + 4 * random()),
        powerW: 85 + busy * (480 + 60 * random()),
      };
    }),
  );
  for (let from = 0; from < samples.length; from += 500)
    await ctx.write((tx) => tx.insert(hostSample).values(samples.slice(from, from + 500)));
}
