/** Billing of all teams: mode and settings, unbilled use, months to close, margins, statements and credits. */
import type { BillingSettings } from "../../../src/billing/settings/model.ts";
import type { CreditView, StatementSummary } from "../../../src/billing/statements/model.ts";
import type { Margin, MonthToClose, TeamRow } from "../../../src/billing/statements/overview.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { microsText, stateText, usdText } from "../billing/page.tsx";
import { BillingSettingsForm, type SettingsForm } from "./billing-settings.tsx";
import { AdminLayout } from "./frame.tsx";

export interface AdminBillingProps {
  settings: BillingSettings;
  form: SettingsForm;
  error?: string;
  teams: TeamRow[];
  months: MonthToClose[];
  margins: Margin[];
  statements: StatementSummary[];
  failed: { number: string; error: string | null }[];
  month: string;
}

const GIVEN: [CreditView["reason"], string][] = [
  ["outage", "Outage"],
  ["billing_error", "Billing error"],
  ["goodwill", "Goodwill"],
];

function Reason({ id }: { id: string }) {
  return (
    <Field
      id={id}
      label="Reason"
      render={(ids) => (
        <select name="reason" {...ids}>
          {GIVEN.map(([value, label]) => (
            <option value={value}>{label}</option>
          ))}
        </select>
      )}
    />
  );
}

function GiveCredit({ teams }: { teams: TeamRow[] }) {
  return (
    <SheetForm id="credit" action="/admin/billing/credits" label="Give credit" title="Give a team a credit" verb="Give">
      <p class="small muted">The next statements of the team use it, the oldest credit first.</p>
      <Field
        id="credit-team"
        label="Team"
        render={(ids) => (
          <select name="organization" {...ids}>
            {teams.map(({ org, name }) => (
              <option value={org}>{name}</option>
            ))}
          </select>
        )}
      />
      <TextField name="amount_usd" label="Amount in US dollars" inputmode="decimal" required />
      <Reason id="credit-reason" />
      <TextField name="note" label="Note" maxlength={500} hint="The team reads it." />
      <TextField name="expires" label="Expires" type="date" hint="Empty: never" />
    </SheetForm>
  );
}

function Refund({ row }: { row: StatementSummary }) {
  if (row.paid_usd <= row.refunded_usd) return null;
  const left = Math.round((row.paid_usd - row.refunded_usd) * 100) / 100;
  return (
    <SheetForm
      id={`refund-${row.id}`}
      action={`/admin/billing/statements/${row.id}/refund`}
      label="Refund"
      buttonClass="button small"
      title={`Refund of ${row.number}`}
      verb="Refund"
    >
      <p class="small muted">
        At most {usdText(left)}. GPU time that was used is not refundable, unless you include it and say why.
      </p>
      <Field
        id={`amount-${row.id}`}
        label="Amount in US dollars"
        hint="Empty: all that is left"
        render={(ids) => <input name="amount_usd" inputmode="decimal" {...ids} />}
      />
      <Reason id={`reason-${row.id}`} />
      <Field
        id={`note-${row.id}`}
        label="Note"
        hint="The team reads it."
        render={(ids) => <input name="note" maxlength={500} {...ids} />}
      />
      <label class="check">
        <input type="checkbox" name="include_used_gpu_time" value="yes" />
        Include GPU time that was used
      </label>
    </SheetForm>
  );
}

function Teams({ teams, month }: { teams: TeamRow[]; month: string }) {
  return (
    <section class="panel" aria-labelledby="teams">
      <header>
        <h2 id="teams">Teams</h2>
        <GiveCredit teams={teams} />
      </header>
      <Table
        label="Teams"
        rows={teams}
        rowId={({ org }) => org}
        columns={[
          {
            key: "team",
            label: "Team",
            name: true,
            render: ({ org, name }) => <a href={`/admin/teams/${org}`}>{name}</a>,
          },
          { key: "month", label: month, end: true, render: (row) => microsText(row.monthMicros) },
          { key: "unbilled", label: "Unbilled", end: true, render: (row) => microsText(row.unbilledMicros) },
          { key: "unpaid", label: "Unpaid", end: true, wide: true, render: (row) => usdText(row.unpaidCents / 100) },
          { key: "credits", label: "Credits", end: true, wide: true, render: (row) => microsText(row.creditMicros) },
        ]}
      />
    </section>
  );
}

function Months({ months, mode }: { months: MonthToClose[]; mode: BillingSettings["mode"] }) {
  return (
    <section class="panel" aria-labelledby="months">
      <header>
        <h2 id="months">Months to close</h2>
        {mode === "off" ? null : <ActionButton action="/admin/billing/close">Close now</ActionButton>}
      </header>
      {months.length === 0 ? (
        <Empty icon="clock" title="Nothing to close" slim>
          {mode === "off"
            ? "Statements need no payment provider. In the mode Charge-back each team gets one for every month, as page, PDF and CSV, for your own accounting."
            : "Use that is on no statement yet is listed here by month. Months are closed by themselves after the grace."}
        </Empty>
      ) : (
        <Table
          label="Months to close"
          rows={months}
          rowId={({ month }) => month}
          columns={[
            { key: "month", label: "Month", name: true, render: ({ month }) => month },
            { key: "teams", label: "Teams", end: true, render: ({ teams }) => teams },
            { key: "sum", label: "Unbilled", end: true, render: ({ micros }) => microsText(micros) },
          ]}
        />
      )}
    </section>
  );
}

function Margins({ margins, month }: { margins: Margin[]; month: string }) {
  if (margins.length === 0) return null;
  return (
    <section class="panel" aria-labelledby="margins">
      <header>
        <h2 id="margins">Margins in {month}</h2>
      </header>
      <Table
        label="Margins by provider"
        rows={margins}
        rowId={({ provider }) => `margin-${provider}`}
        columns={[
          {
            key: "provider",
            label: "Provider",
            name: true,
            render: ({ provider }) => provider || "Without a provider",
          },
          { key: "charged", label: "Charged", end: true, render: (row) => microsText(row.chargedMicros) },
          {
            key: "cost",
            label: "Provider's price",
            end: true,
            wide: true,
            render: (row) => microsText(row.costMicros),
          },
          {
            key: "margin",
            label: "Margin",
            end: true,
            render: (row) => microsText(row.chargedMicros - row.costMicros),
          },
        ]}
      />
    </section>
  );
}

function Statements({ statements, teams }: { statements: StatementSummary[]; teams: TeamRow[] }) {
  const name = (org: string) => teams.find((team) => team.org === org)?.name ?? org;
  const [latest] = statements;
  return (
    <section class="panel" aria-labelledby="all">
      <header>
        <h2 id="all">Statements</h2>
        {latest ? (
          <a class="button" href={`/v1/admin/billing/statements.csv?month=${latest.month}`}>
            CSV of {latest.month}
          </a>
        ) : null}
      </header>
      {statements.length === 0 ? (
        <Empty icon="save" title="No statement yet" slim>
          The statements of all teams appear here when a month was closed.
        </Empty>
      ) : (
        <Table
          label="Statements of all teams"
          rows={statements}
          rowId={({ id }) => id}
          columns={[
            {
              key: "number",
              label: "Number",
              name: true,
              render: (row) => <a href={`/billing/statements/${row.id}`}>{row.number}</a>,
            },
            { key: "team", label: "Team", render: (row) => name(row.organization) },
            { key: "month", label: "Month", wide: true, render: (row) => row.month },
            { key: "state", label: "State", wide: true, render: (row) => stateText(row.state) },
            { key: "total", label: "Total", end: true, render: (row) => usdText(row.total_usd) },
            { key: "refund", label: "Refund", act: true, hideLabel: true, render: (row) => <Refund row={row} /> },
          ]}
        />
      )}
    </section>
  );
}

export function AdminBillingPage(props: AdminBillingProps) {
  const { settings, failed, teams } = props;
  return (
    <AdminLayout
      title="Billing"
      actions={
        <a class="button" href="/admin/billing/verify">
          Check the ledger
        </a>
      }
    >
      {failed.map(({ number, error }) => (
        <Notice kind="bad" title={`Statement ${number} is kept back`} alert>
          {error ?? ""}
        </Notice>
      ))}
      <Teams teams={teams} month={props.month} />
      <Months months={props.months} mode={settings.mode} />
      <Statements statements={props.statements} teams={teams} />
      <Margins margins={props.margins} month={props.month} />
      <section class="panel" aria-labelledby="settings">
        <header>
          <h2 id="settings">Settings</h2>
        </header>
        <PostForm class="body form" action="/admin/billing">
          {props.error ? (
            <Notice kind="bad" alert>
              {props.error}
            </Notice>
          ) : null}
          <BillingSettingsForm form={props.form} />
          <div class="row">
            <button type="submit" class="button primary">
              Save
            </button>
          </div>
        </PostForm>
      </section>
    </AdminLayout>
  );
}
