/** GPU tiles: jobs, memory, utilization and temperature. */
import type { GpuView } from "../../../src/compute/hosts/model.ts";
import { formatBytes, formatNumber } from "../../../src/lib/text/format.ts";
import { StateBadge } from "../../parts/state.tsx";
import { Progress } from "../../parts/value.tsx";

const MB = 2 ** 20;
const known = (value: number | null, text: (value: number) => string) => (value === null ? null : text(value));

/** `GPU 0`, or `GPU 0, slice 1g.10gb`. */
export const gpuName = (gpu: GpuView) =>
  gpu.mig ? `GPU ${gpu.position}, slice ${gpu.mig.profile ?? ""}` : `GPU ${gpu.position}`;

function GpuTile({ gpu, model }: { gpu: GpuView; model: boolean }) {
  const facts = [
    known(gpu.utilization, (value) => `${formatNumber(value, 0)}% busy`),
    known(gpu.temperature_c, (value) => `${formatNumber(value, 0)} °C`),
    known(gpu.power_w, (value) => `${formatNumber(value, 0)} W`),
    gpu.ecc_errors ? `${gpu.ecc_errors} memory errors` : null,
  ].filter((fact) => fact !== null);
  const tone = gpu.lost ? " lost" : gpu.held_by.length > 0 ? " busy" : gpu.used_outside ? " outside" : "";
  return (
    <div class={`gpu${tone}`}>
      <div class="row between">
        <strong>{gpuName(gpu)}</strong>
        <span class="xs muted nowrap">{gpu.shares > 1 ? `${gpu.shares} shares` : null}</span>
      </div>
      {model ? <div class="xs muted clip">{gpu.model}</div> : null}
      <Progress
        label={`Memory of ${gpuName(gpu)}`}
        fraction={gpu.memory_used_mb === null ? null : gpu.memory_used_mb / Math.max(1, gpu.memory_mb)}
        left={`${gpu.memory_used_mb === null ? "" : `${formatBytes(gpu.memory_used_mb * MB)} of `}${formatBytes(gpu.memory_mb * MB)}`}
      />
      <div class="xs muted">{facts.join(" · ")}</div>
      <div class={gpu.held_by.length > 0 ? "small clip" : "small"}>
        {gpu.lost ? (
          <StateBadge state="lost" />
        ) : gpu.held_by.length === 0 ? (
          gpu.used_outside ? (
            <StateBadge state="used_outside" />
          ) : (
            <span class="muted">free</span>
          )
        ) : (
          gpu.held_by.map((work, n) => (
            <>
              {n > 0 ? ", " : null}
              {work.id ? <a href={`/jobs/${work.id}`}>{work.name}</a> : <span class="muted">job of another team</span>}
            </>
          ))
        )}
      </div>
    </div>
  );
}

export function Gpus({ gpus }: { gpus: GpuView[] }) {
  const models = new Set(gpus.map((gpu) => gpu.model));
  return (
    <div class="gpus">
      {gpus.map((gpu) => (
        <GpuTile gpu={gpu} model={models.size > 1} />
      ))}
    </div>
  );
}
