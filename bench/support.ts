/**
 * Helpers of the benchmarks: medians, memory of a process, and HTTP load with wrk where it is installed.
 */
import { readdirSync, readFileSync } from "node:fs";

/** The middle value. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? Number.NaN) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** The quantile `share` (0 to 1) of the values. */
export function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Resident memory of a process in MB; with `peak`, its maximum so far. */
export function rssMb(pid: number, peak = false): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kb = new RegExp(`${peak ? "VmHWM" : "VmRSS"}:\\s+(\\d+)`).exec(status)?.[1];
  return Math.round(Number(kb) / 1024);
}

/** CPU seconds that a process and its process group have used so far. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      // After the name: state, parent, group; user and system time are the 12th and 13th.
      if (Number(entry) === pid || Number(fields[2]) === pid) ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended in the meantime.
    }
  }
  return ticks / 100;
}

interface Load {
  perSecond: number;
  p99Ms: number;
  errors: number;
}

const wrk = Bun.which("wrk");

/** Name of the load generator. */
export function loadTool(): string {
  return wrk ? "wrk -t1 -c32" : "32 fetch loops of this process (wrk is not installed)";
}

/** GETs `url` as fast as 32 connections can for `seconds`. */
export async function measureLoad(url: string, headers: Record<string, string>, seconds: number): Promise<Load> {
  return wrk ? withWrk(url, headers, seconds) : withFetch(url, headers, seconds);
}

async function withWrk(url: string, headers: Record<string, string>, seconds: number): Promise<Load> {
  const flags = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const run = Bun.spawn([wrk ?? "wrk", "-t1", "-c32", `-d${seconds}s`, "--latency", ...flags, url], { stdout: "pipe" });
  const text = await new Response(run.stdout).text();
  const p99 = /99%\s+([\d.]+)(us|ms|s)/.exec(text);
  const unit = { us: 0.001, ms: 1, s: 1000 }[p99?.[2] ?? "ms"] ?? 1;
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]),
    p99Ms: Number(p99?.[1]) * unit,
    errors: Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0),
  };
}

async function withFetch(url: string, headers: Record<string, string>, seconds: number): Promise<Load> {
  const times: number[] = [];
  let errors = 0;
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      while (performance.now() < end) {
        const began = performance.now();
        const answer = await fetch(url, { headers });
        await answer.arrayBuffer();
        if (!answer.ok) errors++;
        times.push(performance.now() - began);
      }
    }),
  );
  return { perSecond: times.length / seconds, p99Ms: quantile(times, 0.99), errors };
}
