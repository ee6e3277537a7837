/** The checks of the ledger: their last results, when they ran, and what runs now. */
import type { Verification, VerificationState } from "../../../src/billing/ledger/verification.ts";
import { formatDuration, formatInteger, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { ActionButton } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Table } from "../../parts/table.tsx";
import { Stat, Stats, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

interface VerificationProps {
  last: Verification | null;
  state: VerificationState;
}

function Running({ startedAt, progress }: VerificationState) {
  return (
    <Notice kind="info" title="The ledger is being checked">
      {progress ? `Check ${progress.done + 1} of ${progress.of}: ${progress.name}. ` : ""}
      Started <Time at={startedAt} />. You can leave this page.
      {progress ? <progress value={progress.done} max={progress.of} aria-label="Checks that ended" /> : null}
    </Notice>
  );
}

function Checks({ checks }: Verification) {
  return (
    <section class="panel" aria-labelledby="checks">
      <header>
        <h2 id="checks">Checks</h2>
      </header>
      <Table
        still
        label="Checks"
        rows={checks}
        rowId={({ name }) => name}
        columns={[
          { key: "name", label: "Check", name: true, render: ({ name }) => name },
          { key: "checked", label: "Compared", end: true, wide: true, render: (row) => formatInteger(row.checked) },
          {
            key: "state",
            label: "Result",
            render: ({ violations }) => <StateBadge state={violations.length === 0 ? "check_ok" : "failed"} />,
          },
        ]}
      />
    </section>
  );
}

function Violations({ checks }: Verification) {
  const wrong = checks.filter(({ violations }) => violations.length > 0);
  return (
    <>
      {wrong.map(({ name, violations }) => (
        <Notice kind="bad" title={name}>
          <ul class="wrap-any">
            {violations.map((one) => (
              <li>{one}</li>
            ))}
          </ul>
        </Notice>
      ))}
    </>
  );
}

/** The results, which fetch themselves again while a check runs. */
export function VerificationResults({ last, state }: VerificationProps) {
  const { url } = usePage();
  const poll =
    state.startedAt !== null
      ? { "hx-get": url.pathname, "hx-trigger": "every 1s", "hx-target": "this", "hx-swap": "outerMorph" }
      : {};
  const wrong = last?.checks.filter(({ violations }) => violations.length > 0).length ?? 0;
  return (
    <div id="verification" class="stack" {...poll}>
      {state.startedAt !== null ? <Running {...state} /> : null}
      {state.failure ? (
        <Notice kind="bad" title="The last run failed">
          {state.failure}
        </Notice>
      ) : null}
      {last === null ? (
        <Empty icon="scale" title="Not checked yet">
          The checks compare metered use, the ledger, budgets, requests and statements with each other. They only read,
          and may run while the installation works.
        </Empty>
      ) : (
        <>
          <Stats>
            <Stat label="Last run">
              <Time at={last.endedAt} />
            </Stat>
            <Stat label="Took">{formatDuration((last.endedAt - last.startedAt) / 1000)}</Stat>
            <Stat label="Result">{wrong === 0 ? "Everything agrees" : `${plural(wrong, "check")} failed`}</Stat>
          </Stats>
          <Violations {...last} />
          <Checks {...last} />
        </>
      )}
    </div>
  );
}

export function VerificationPage(props: VerificationProps) {
  return (
    <AdminLayout
      title="Check of the ledger"
      parent={{ label: "Billing", href: "/admin/billing" }}
      actions={
        <ActionButton action="/admin/billing/verify" class="primary">
          Run the checks
        </ActionButton>
      }
    >
      <VerificationResults {...props} />
    </AdminLayout>
  );
}
