/** What a job used so far: time that is charged, free or discarded, and what it costs. */
import type { JobUsage } from "../../../src/billing/ledger/service.ts";
import { formatDuration, formatInteger, formatMoney } from "../../../src/lib/text/format.ts";
import { KeyValue } from "../../parts/value.tsx";

export interface JobUseProps {
  usage: JobUsage;
}

const time = (ms: number) => formatDuration(Math.round(ms / 1000));

export function JobUse({ usage }: JobUseProps) {
  if (usage.attempts === 0) return <div id="job-use" hidden />;
  const { durationMs, freeMs, discardedMs, gpuSeconds } = usage;
  return (
    <section id="job-use" class="panel" aria-labelledby="use-title">
      <header>
        <h2 id="use-title">Use</h2>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            ["Captured", time(durationMs - freeMs - discardedMs), `${formatMoney(usage.costUsd)} so far`],
            ["Free", time(freeMs), "Start-up, downloads and the memory test"],
            discardedMs > 0 && [
              "Discarded",
              time(discardedMs),
              `Lost after the last checkpoint and not charged: ${formatMoney(usage.discardedUsd)}`,
            ],
            gpuSeconds > 0 && ["GPU time", time(gpuSeconds * 1000)],
            usage.tokens > 0 && ["Training tokens", formatInteger(usage.tokens)],
          ]}
        />
      </div>
    </section>
  );
}
