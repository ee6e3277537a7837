/** Running jobs and durations for tests of the scheduler. */
import type { Job, Running } from "../../src/training/scheduler/types.ts";
import { aJob, HOUR, START } from "./cluster.ts";

export const hours = (low: number, high = low) => ({ low: low * HOUR, high: high * HOUR });

export type More = Partial<Omit<Running, "job">> & { first?: number; job?: Partial<Omit<Job, "wants">>; host?: string };

/** A job on `gpus` GPUs of host `h0`, from GPU `first` on, that started an hour ago. */
export function runs(id: string, gpus: number, more: More = {}): Running {
  const { first = 0, host = "h0", job = {}, ...rest } = more;
  return {
    job: aJob(id, { ...job, wants: { gpus } }),
    hostId: host,
    gpus: Array.from({ length: gpus }, (_, n) => `${host}.${first + n}`),
    startedAt: START - HOUR,
    left: { low: 0, high: null },
    preemptible: true,
    preempting: false,
    ...rest,
  };
}
