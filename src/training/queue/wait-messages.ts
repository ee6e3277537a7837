/** Explains in one sentence why a job waits. */
import { formatExact, plural } from "../../lib/text/format.ts";
import { spanText } from "../../notices/maintenance/model.ts";
import type { Host, Job, Wait } from "../scheduler/types.ts";

const gpus = (job: Job) => plural(job.wants.gpus, "GPU");
const size = ({ wants }: Job) => (wants.gpuMemoryMb > 0 ? ` of ${Math.ceil(wants.gpuMemoryMb / 1000)} GB or more` : "");

/** @param retry the answer to an earlier try to start the job, if any */
export function waitMessage(
  job: Job,
  wait: Wait,
  hosts: ReadonlyMap<string, Pick<Host, "pool" | "provider" | "why">>,
  retry: string | null,
  now: number,
): string {
  const until = wait.until === null ? "" : ` until ${formatExact(wait.until)}`;
  switch (wait.code) {
    case "ending":
      return "Waiting for its last attempt to terminate";
    case "held":
      return `Held: ${job.held ?? ""}`;
    case "budget":
      return job.overBudget ?? job.late ?? "Waiting for a budget";
    case "retry":
      return retry ?? `Waiting${until} before the next try`;
    case "not_before":
      return `Scheduled not to start before ${formatExact(wait.until ?? 0)}`;
    case "window":
      return `Waiting for its time window (${job.window?.from} to ${job.window?.until}, ${job.window?.tz})${wait.until === null ? "" : `, which opens ${formatExact(wait.until)}`}`;
    case "maintenance":
      return `Maintenance from ${spanText(wait.from ?? now, wait.until ?? now)}: ${
        (wait.from ?? now) > now ? "would not end before it starts" : "starts after it"
      }`;
    case "quota_gpus":
      return "The team has reached its GPU limit; the job starts when another job of the team ends";
    case "quota_gpus_never":
      return `It needs ${gpus(job)}, more than the team's GPU limit. Ask an administrator to raise the limit`;
    case "quota_hours":
      return `The team's GPU-hours of this month are used or reserved; the next month begins ${formatExact(wait.until ?? 0)}`;
    case "hosts_away":
      if (job.burstWhy !== undefined) return job.burstWhy;
      for (const { why, provider } of hosts.values())
        if (why !== undefined && (job.wants.provider ?? provider) === provider) return why;
      return "Every host that could run it is cordoned, draining or unreachable";
    case "never":
      return "No machine here can run it; asking the providers";
    case "burst":
      return job.burstWhy ?? "Comparing the offers of providers";
    case "reserved":
      if (job.burstWhy !== undefined) return job.burstWhy;
      return "The free capacity is reserved for a larger job that has waited longer";
    case "capacity":
      if (job.burstWhy !== undefined && !wait.preempts) return job.burstWhy;
      if (wait.preempts) return "A job of lower priority is saving a checkpoint to release its GPUs for this job";
      if (job.wants.gpus > 0)
        return `Waiting for ${gpus(job)}${size(job)}${wait.host ? `, reserved on ${wait.host}` : ""}`;
      return hosts.size === 0
        ? "No machine accepts work"
        : job.kind === "serve"
          ? "Waiting for a free endpoint slot on this machine"
          : "Waiting for a free slot on this machine";
  }
}
