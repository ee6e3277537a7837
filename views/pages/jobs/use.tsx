/** What a job used so far: time that is charged, free or discarded, and what it costs. */
import type { JobUsage } from "../../../src/billing/ledger/service.ts";
import { formatDuration, formatInteger, formatMoney, formatNumber } from "../../../src/lib/text/format.ts";
import { KeyValue } from "../../parts/value.tsx";

export interface JobUseProps {
  usage: JobUsage;
  energy: { energy_kwh: number; carbon_g: number };
}

const time = (ms: number) => formatDuration(Math.round(ms / 1000));

export function JobUse({ usage, energy }: JobUseProps) {
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
            usage.joules > 0 && [
              "Energy",
              `${formatNumber(energy.energy_kwh)} kWh`,
              `About ${formatNumber(energy.carbon_g)} g of CO₂; GPUs are measured, CPU cores are estimated`,
            ],
            usage.tokens > 0 && ["Training tokens", formatInteger(usage.tokens)],
          ]}
        />
      </div>
    </section>
  );
}
