/** The limits of the team, and how much of each is used. */
import type { LimitsView, LimitUse } from "../../../src/accounts/quotas/model.ts";
import { formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import { KeyValue } from "../../parts/value.tsx";

/** Current use of each limit, independent of the month shown above. */
export function LimitsPanel({ limits }: { limits: LimitsView }) {
  const show = ({ limit, used }: LimitUse, format: (value: number) => string) =>
    limit === null ? `${format(used)} (no limit)` : `${format(used)} of ${format(limit)}`;
  return (
    <section class="panel" aria-labelledby="limits">
      <header>
        <h2 id="limits">Limits of your team</h2>
      </header>
      <div class="body">
        <KeyValue
          rows={[
            [
              "Storage",
              show(limits.bytes, formatBytes),
              "files, pending uploads, dataset rows, checkpoints and models",
            ],
            ["Files", show(limits.files, formatInteger)],
            ["Datasets", show(limits.datasets, formatInteger)],
            ["Pending uploads", show(limits.pending_uploads, formatInteger)],
            ["Waiting jobs", show(limits.waiting_jobs, formatInteger), "queued jobs, including sweep trials"],
          ]}
        />
      </div>
    </section>
  );
}
