/** Why a job waits, as a sentence for people. */
import { formatExact, plural } from "../../lib/text/format.ts";
import type { Host, Job, Wait } from "../scheduler/types.ts";

const gpus = (job: Job) => plural(job.wants.gpus, "GPU");
const size = ({ wants }: Job) => (wants.gpuMemoryMb > 0 ? ` of ${Math.ceil(wants.gpuMemoryMb / 1000)} GB or more` : "");

/** @param retry what an earlier try to begin it was answered */
export function waitWords(
  job: Job,
  wait: Wait,
  hosts: ReadonlyMap<string, Pick<Host, "pool">>,
  retry: string | null,
): string {
  const until = wait.until === null ? "" : ` until ${formatExact(wait.until)}`;
  switch (wait.code) {
    case "ending":
      return "Waiting for the work of its last attempt to be gone";
    case "retry":
      return retry ?? `Waiting${until} before it is tried again`;
    case "not_before":
      return `Not to begin before ${formatExact(wait.until ?? 0)}, as was asked`;
    case "window":
      return `Waiting for its hours (${job.window?.from} to ${job.window?.until}, ${job.window?.tz})${wait.until === null ? "" : `: they begin ${formatExact(wait.until)}`}`;
    case "quota_gpus":
      return "The team holds as many GPUs as it may at once; it begins when one of its jobs ends";
    case "quota_gpus_never":
      return `It asks for ${gpus(job)}, more than its team may hold at once. Ask an administrator to raise the quota`;
    case "quota_hours":
      return `The team's GPU-hours of this month are used or promised; they begin anew ${formatExact(wait.until ?? 0)}`;
    case "hosts_away":
      return "Every host that could run it is cordoned, drained or silent";
    case "never":
      return "Nothing here can run it; the providers are asked";
    case "reserved":
      return "There is room, but it is kept for a larger job that waits longer";
    case "capacity":
      if (wait.preempts) return "A job of lower priority saves a checkpoint to make room for it";
      if (job.wants.gpus > 0)
        return `Waiting for ${gpus(job)}${size(job)}${wait.host ? `; they are kept for it on ${wait.host}` : ""}`;
      return hosts.size === 0
        ? "No machine takes work"
        : job.kind === "serve"
          ? "Waiting for a free endpoint slot on this machine"
          : "Waiting for a free slot on this machine";
  }
}
