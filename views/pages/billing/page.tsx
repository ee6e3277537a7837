/** `/billing`: what the team used this month, its statements and credits, and who sees them. */

import type { LateTeam } from "../../../src/billing/late/state.ts";
import { dollars, MICROS, MICROS_PER_CENT } from "../../../src/billing/meters/money.ts";
import type { BillingSettings } from "../../../src/billing/settings/model.ts";
import type { CreditView, StatementSummary } from "../../../src/billing/statements/model.ts";
import type { TeamMoney } from "../../../src/billing/statements/overview.ts";
import type { BillingAccount } from "../../../src/billing/stripe/account.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { TestMode } from "../../parts/test-mode.tsx";
import { Stat, Stats, Time } from "../../parts/value.tsx";
import { PaymentPanel } from "./payment.tsx";

interface BillingProps {
  settings: BillingSettings;
  money: TeamMoney;
  statements: StatementSummary[];
  credits: CreditView[];
  /** How the team pays; null when the viewer may not manage that, or no payments are set up. */
  account: BillingAccount | null;
  /** What follows because an invoice is overdue; null = none is. */
  late: LateTeam | null;
}

export const microsText = (micros: number) => dollars(Math.round(micros / MICROS_PER_CENT));
export const usdText = (usd: number) => microsText(Math.round(usd * MICROS));

const STATES: Record<StatementSummary["state"], string> = {
  closing: "Being sent",
  final: "Charged back",
  open: "To be paid",
  paid: "Paid",
  past_due: "Overdue",
  void: "Void",
  uncollectible: "Given up",
  failed: "Kept back",
};

export const stateText = (state: StatementSummary["state"]) => STATES[state];

const REASONS: Record<CreditView["reason"], string> = {
  outage: "Outage",
  billing_error: "Billing error",
  goodwill: "Goodwill",
  sign_up: "Sign-up",
  failed_work: "Failed work",
};

/** What the mode means for the team. */
function Mode({ mode }: { mode: BillingSettings["mode"] }) {
  if (mode === "stripe") return null;
  return (
    <Notice kind="info" title={mode === "off" ? "Nobody is charged" : "Costs are charged back inside your company"}>
      {mode === "off"
        ? "Costs are shown for information. An administrator of the installation can switch on statements for internal charge-back, without any payment, or invoices."
        : "Every month has a statement here as page, PDF and CSV. Nothing is to be paid on this site."}
    </Notice>
  );
}

function Statements({ statements }: { statements: StatementSummary[] }) {
  return (
    <section class="panel" aria-labelledby="statements">
      <header>
        <h2 id="statements">Statements</h2>
      </header>
      {statements.length === 0 ? (
        <Empty icon="save" title="No statement yet" slim>
          A statement has everything that the team used in a month. It appears here after the month was closed.
        </Empty>
      ) : (
        <Table
          label="Statements"
          rows={statements}
          rowId={(row) => row.id}
          columns={[
            {
              key: "number",
              label: "Number",
              name: true,
              render: (row) => <a href={`/billing/statements/${row.id}`}>{row.number}</a>,
            },
            { key: "month", label: "Month", render: (row) => row.month },
            { key: "state", label: "State", render: (row) => STATES[row.state] },
            { key: "total", label: "Total", end: true, render: (row) => usdText(row.total_usd) },
            {
              key: "files",
              label: "Files",
              wide: true,
              hideLabel: true,
              render: (row) => (
                <span class="row">
                  <a href={`/v1/billing/statements/${row.id}.pdf`} aria-label={`PDF of ${row.number}`}>
                    PDF
                  </a>
                  <a href={`/v1/billing/statements/${row.id}.csv`} aria-label={`CSV of ${row.number}`}>
                    CSV
                  </a>
                </span>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

/** Credits and refunds, for the page of a team and that of administrators. */
export function Credits({ credits }: { credits: CreditView[] }) {
  if (credits.length === 0)
    return (
      <Empty icon="usage" title="No credits or refunds" slim>
        A credit lowers the next statements. A refund gives back what was paid for one.
      </Empty>
    );
  return (
    <Table
      label="Credits and refunds"
      rows={credits}
      rowId={(row) => row.id}
      columns={[
        {
          key: "reason",
          label: "Reason",
          name: true,
          render: (row) => `${REASONS[row.reason]}${row.note ? `: ${row.note}` : ""}`,
        },
        { key: "kind", label: "Kind", render: (row) => (row.kind === "credit" ? "Credit" : `Refund, ${row.state}`) },
        { key: "given", label: "Given", wide: true, render: (row) => <Time at={row.created_at * 1000} /> },
        {
          key: "expires",
          label: "Expires",
          extra: true,
          render: (row) => (row.expires_at === null ? "Never" : <Time at={row.expires_at * 1000} />),
        },
        { key: "amount", label: "Amount", end: true, render: (row) => usdText(row.amount_usd) },
        {
          key: "left",
          label: "Left",
          end: true,
          render: (row) => (row.kind === "credit" ? usdText(row.amount_usd - row.used_usd) : "–"),
        },
      ]}
    />
  );
}

export function BillingPage({ settings, money, statements, credits, account, late }: BillingProps) {
  const unpaid = settings.mode === "stripe" && statements.some(({ state }) => state === "past_due");
  return (
    <Layout
      title="Billing"
      actions={
        <RoleLink href="/usage" class="button">
          Usage
        </RoleLink>
      }
    >
      <div class="stack">
        <Mode mode={settings.mode} />
        {account ? <TestMode mode={account.mode} /> : null}
        {late ? (
          <Notice kind="bad" title={late.title} alert>
            {late.text} <a href={`/billing/statements/${late.invoice.id}`}>Open invoice {late.invoice.number}</a>
          </Notice>
        ) : unpaid ? (
          <Notice kind="bad" title="The payment of an invoice failed">
            Pay it, or change the payment method, so that work continues.
          </Notice>
        ) : null}
        <Stats>
          <Stat label={`Used in ${money.month} so far`} big>
            {microsText(money.monthMicros)}
          </Stat>
          <Stat label="Credits left">{microsText(money.creditMicros)}</Stat>
        </Stats>
        <Statements statements={statements} />
        {account ? <PaymentPanel account={account} /> : null}
        <section class="panel" aria-labelledby="credits">
          <header>
            <h2 id="credits">Credits and refunds</h2>
          </header>
          <Credits credits={credits} />
        </section>
        <p class="small muted">
          Owners, administrators, viewers and the role Billing see this page; all but viewers manage how the team pays.
          Months are in UTC.
        </p>
      </div>
    </Layout>
  );
}
