/** `/admin/deletions`: accounts and teams whose deletion is scheduled, was canceled, or is done, with its report. */
import type { DeletionRecord } from "../../../src/erasure/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { formatDate, formatInteger } from "../../../src/lib/text/format.ts";
import { Empty } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { CopyId } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

const STATES = { scheduled: "deletion_scheduled", canceled: "canceled", erased: "erased" };

const WORDS = {
  user: { label: "Account", path: "/admin/users/" },
  organization: { label: "Team", path: "/admin/teams/" },
};

const countsOf = ({ erased }: DeletionRecord) =>
  Object.entries(erased)
    .filter(([, n]) => n > 0)
    .map(([what, n]) => `${formatInteger(n)} ${what}`)
    .join(", ") || "–";

export function DeletionsPage({ records }: { records: Listed<DeletionRecord> }) {
  return (
    <AdminLayout title="Deletions">
      <section class="panel" aria-label="Deletions">
        {records.items.length === 0 ? (
          <Empty icon="cancelled" title="No deletions">
            Users delete their account under Settings, and owners delete a team under Team. You can delete either on its
            page here. Each deletion is listed with a report of what was erased.
          </Empty>
        ) : (
          <Table
            label="Deletions"
            rows={records.items}
            rowId={(row) => row.id}
            columns={[
              {
                key: "what",
                label: "What",
                name: true,
                render: (row) => (
                  <>
                    {row.state === "erased" ? (
                      WORDS[row.subject].label
                    ) : (
                      <a href={`${WORDS[row.subject].path}${encodeURIComponent(row.subject_id)}`}>
                        {WORDS[row.subject].label}
                      </a>
                    )}{" "}
                    <CopyId id={row.subject_id} />
                    <span class="narrow">
                      <span class="sub">On {formatDate(row.erase_at * 1000)}</span>
                    </span>
                    {row.reason ? (
                      <span class="sub" title={row.reason}>
                        {row.reason}
                      </span>
                    ) : null}
                  </>
                ),
              },
              { key: "state", label: "State", render: (row) => <StateBadge state={STATES[row.state]} /> },
              {
                key: "day",
                label: "Erased on",
                tight: true,
                wide: true,
                render: (row) => formatDate(row.erase_at * 1000),
              },
              { key: "counts", label: "What was erased", wide: true, render: countsOf },
            ]}
          />
        )}
        <Pager shown={records.items.length} hasMore={records.hasMore} last={records.last} order="name" />
      </section>
      {records.items[0] ? (
        <section class="panel">
          <header>
            <h2>What every deletion keeps, and why</h2>
          </header>
          <div class="body prose">
            <ul>
              {records.items[0].kept.map(({ what, why }) => (
                <li>
                  {what} <span class="muted">({why})</span>
                </li>
              ))}
            </ul>
          </div>
        </section>
      ) : null}
    </AdminLayout>
  );
}
