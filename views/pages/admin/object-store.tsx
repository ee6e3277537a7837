/** What the last comparison of the object store with the database found and removed, on the status page. */
import { formatBytes, formatInteger } from "../../../src/lib/text/format.ts";
import type { BucketState } from "../../../src/objects/sweep.ts";
import { Notice } from "../../parts/notice.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";

/** Keys that are named. */
const SHOWN = 10;

export function ObjectStore({ state }: { state: BucketState }) {
  const { last, removed, failure, waiting } = state;
  return (
    <section class="panel" id="object-store">
      <header>
        <h2>Object store</h2>
      </header>
      <div class="body stack tight">
        {failure ? (
          <Notice kind="bad" title="The last comparison with the database failed">
            {failure.message} <Time at={failure.at} />
          </Notice>
        ) : null}
        {last && last.missing.length > 0 ? (
          <Notice kind="bad" title={`${formatInteger(last.missing.length)} objects are missing`}>
            Restore them from the backup of the bucket:
            {last.missing.slice(0, SHOWN).map((key) => (
              <code class="sub wrap-any">{key}</code>
            ))}
          </Notice>
        ) : null}
        <KeyValue
          rows={[
            ["Last comparison", last ? <Time at={last.at} /> : "not yet", "Every six hours."],
            ...(last
              ? ([
                  ["Found", `${formatInteger(last.objects)} objects, ${formatBytes(last.bytes)}`],
                  [
                    "Removed by it",
                    `${formatInteger(last.strays)} objects and ${formatInteger(last.orphans)} units that nothing refers to, ${formatInteger(last.uploads)} unfinished uploads; ${formatBytes(last.removedBytes)}`,
                  ],
                ] as [string, string][])
              : []),
            ["Removed since the start", formatBytes(removed.removedBytes)],
            ["Removals that wait", formatInteger(waiting)],
          ]}
        />
      </div>
    </section>
  );
}
