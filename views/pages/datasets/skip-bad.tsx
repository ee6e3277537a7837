/** The button that leaves out the bad rows of a failed version; when they are most rows, it names their number. */
import type { VersionView } from "../../../src/data/datasets/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { ActionButton } from "../../parts/form.tsx";

export function SkipBad({ version, report }: { version: VersionView; report: Report | null }) {
  if (version.status !== "failed" || !version.bad_rows || !report || report.rows <= 0) return null;
  const most = version.bad_rows > report.rows;
  return (
    <div class="row">
      <ActionButton
        action={`/datasets/${version.dataset_id}/versions`}
        fields={{ skip_bad: most ? "any" : "true" }}
        class={most ? "danger" : "primary"}
      >
        {most
          ? `Leave out ${formatInteger(version.bad_rows)} of ${plural(report.rows + version.bad_rows, "row")}`
          : "Leave out the bad rows"}
      </ActionButton>
      <span class="small muted">
        {most
          ? "More than half of the rows are bad. Check first whether the file was read as you expect."
          : `Creates a new version with the ${plural(report.rows, "good row")}. The file does not change.`}
      </span>
    </div>
  );
}
