/**
 * Keeps durations correct when the machine's clock is set, while jobs run or while the server is down. The stored times
 * of open jobs are shifted with the clock, so that no job times out, is billed or waits for hours that never passed.
 */

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { inArray, isNull, notInArray, or, sql } from "drizzle-orm";
import type { AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { FINAL_STATES } from "../../contract/job.ts";
import type { Ctx } from "../../ctx.ts";
import { rentedMachine } from "../../db/schema/hosts.ts";
import { attempt, command, job } from "../../db/schema/jobs.ts";
import { CLOCK_JUMP_MS } from "../../lib/clock.ts";

const SAVE_MS = 60_000;

/** One point in time on the wall clock and on the monotonic clock since boot. */
interface Moment {
  wall: number;
  up: number;
  boot: string;
}

function momentNow(ctx: Ctx): Moment {
  const up = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1000;
  const wall = ctx.clock.wall?.() ?? ctx.clock.now();
  return { wall, up, boot: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim() };
}

function readMoment(path: string): Moment | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Moment;
  } catch {
    return null; // the first start with this directory, or a file that was not completely written
  }
}

/**
 * Shifts every time of open jobs, and of attempts whose work is not terminated, by `ms`. What has happened stays in the
 * past: a time after now was stored after the clock was set. Progress counts from now: reports in between may have used
 * either clock.
 */
async function shift(ctx: Ctx, { wall: now }: Moment, ms: number): Promise<void> {
  const moved = (column: AnySQLiteColumn) => sql`min(${column} + ${ms}, ${now})`;
  const set = (column: AnySQLiteColumn) => sql`case when ${column} > 0 then ${column} + ${ms} else ${column} end`;
  await ctx.write(async (tx) => {
    const live = tx
      .select({ id: job.id })
      .from(job)
      .where(notInArray(job.state, [...FINAL_STATES]));
    await tx
      .update(attempt)
      .set({
        createdAt: moved(attempt.createdAt),
        startedAt: moved(attempt.startedAt),
        endedAt: moved(attempt.endedAt),
        heartbeatAt: moved(attempt.heartbeatAt),
        goneAt: moved(attempt.goneAt),
        bootstrapUntil: sql`${attempt.bootstrapUntil} + ${ms}`,
        runningAt: moved(attempt.runningAt),
        contactAt: moved(attempt.contactAt),
      })
      .where(or(isNull(attempt.goneAt), inArray(attempt.jobId, live)));
    await tx
      .update(rentedMachine)
      .set({ chargedFrom: moved(rentedMachine.chargedFrom) })
      .where(isNull(rentedMachine.endedAt));
    await tx
      .update(job)
      .set({
        queuedAt: moved(job.queuedAt),
        startedAt: moved(job.startedAt),
        notBefore: set(job.notBefore),
        leaseUntil: set(job.leaseUntil),
        progressAt: sql`case when ${job.progressAt} is null then null else ${now} end`,
      })
      .where(notInArray(job.state, [...FINAL_STATES]));
    await tx
      .update(command)
      .set({ createdAt: moved(command.createdAt) })
      .where(isNull(command.doneAt));
    // Writes that come next have shifted times and the new clock.
    ctx.clock.follow?.();
  });
}

/**
 * Creates the check that the pipeline runs first in every pass. It resolves to the milliseconds that the clock jumped
 * since the previous check, which may be of an earlier server on this data directory since boot; usually 0.
 */
export function clockJumps(ctx: Ctx): () => Promise<number> {
  // Only Linux has a clock that cannot be set and that survives a restart of the process.
  if (!existsSync("/proc/uptime")) return async () => 0;
  const path = ctx.files.path("run", "clock.json");
  let last = readMoment(path);
  let savedAt = Number.NEGATIVE_INFINITY;
  const save = (moment: Moment) => {
    try {
      writeFileSync(`${path}.new`, JSON.stringify(moment), { mode: 0o600 });
      renameSync(`${path}.new`, path);
      savedAt = moment.up;
    } catch {
      // A full disk must not stop the pipeline; the next check tries again.
    }
  };
  return async () => {
    const moment = momentNow(ctx);
    const jump = last?.boot === moment.boot ? Math.round(moment.wall - last.wall - (moment.up - last.up)) : 0;
    const jumped = Math.abs(jump) > CLOCK_JUMP_MS;
    if (jumped) {
      ctx.log("warn", "the machine's clock was set; the times of open jobs are shifted", { seconds: jump / 1000 });
      await shift(ctx, moment, jump);
    } else {
      // A machine that slept: its clock was not set.
      ctx.clock.follow?.();
    }
    last = moment;
    if (jumped || moment.up - savedAt > SAVE_MS) save(moment);
    return jumped ? jump : 0;
  };
}
