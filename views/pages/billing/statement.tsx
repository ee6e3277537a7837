/** One statement: lines, totals, and what was given back after it was closed. It prints as it is. */

import { quantityText, unitPriceText } from "../../../src/billing/meters/money.ts";
import type { StatementView } from "../../../src/billing/statements/model.ts";
import { formatDate } from "../../../src/lib/text/format.ts";
import { Layout } from "../../layout.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { KeyValue } from "../../parts/value.tsx";
import { Credits, stateText, usdText } from "./page.tsx";

interface StatementProps {
  statement: StatementView;
  team: string;
  legalText: string;
}

export function StatementPage({ statement, team, legalText }: StatementProps) {
  const { id, lines } = statement;
  const due = statement.state === "open" || statement.state === "past_due";
  return (
    <Layout
      title={`${statement.mode === "stripe" ? "Invoice" : "Statement"} ${statement.number}`}
      crumbs={[{ label: "Billing", href: "/billing" }]}
      actions={
        <>
          <a class="button" href={`/v1/billing/statements/${id}.csv`}>
            CSV
          </a>
          <a class="button" href={`/v1/billing/statements/${id}.pdf`}>
            PDF
          </a>
          {due && statement.payment_url ? (
            <a class="button primary" href={statement.payment_url} rel="noreferrer">
              Pay
            </a>
          ) : null}
        </>
      }
    >
      <div class="stack">
        {statement.state === "past_due" ? (
          <Notice kind="bad" title="This invoice is overdue">
            {legalText || "Pay it, or change the payment method, so that work continues."}
          </Notice>
        ) : null}
        <section class="panel">
          <div class="body">
            <KeyValue
              rows={[
                ["Team", team],
                ["Month", `${statement.month}, UTC`],
                ["State", stateText(statement.state)],
                ["Closed", formatDate(statement.closed_at * 1000)],
                statement.due_at !== null && ["Due", formatDate(statement.due_at * 1000)],
                statement.paid_at !== null && ["Paid", formatDate(statement.paid_at * 1000)],
              ]}
            />
          </div>
        </section>
        <section class="panel" aria-labelledby="lines">
          <header>
            <h2 id="lines">Lines</h2>
          </header>
          <Table
            label="Lines"
            rows={lines.map((line, n) => ({ ...line, n }))}
            rowId={({ n }) => `line-${n}`}
            columns={[
              { key: "what", label: "What", render: (line) => line.description },
              {
                key: "quantity",
                label: "Quantity",
                end: true,
                wide: true,
                render: (line) => (line.quantity === null ? "–" : quantityText(line.quantity)),
              },
              {
                key: "price",
                label: "Unit price",
                end: true,
                wide: true,
                render: (line) => unitPriceText(line.unit_price_usd),
              },
              { key: "amount", label: "Amount", end: true, render: (line) => usdText(line.amount_usd) },
            ]}
          />
          <div class="body totals">
            <KeyValue
              rows={[
                ["Subtotal", usdText(statement.subtotal_usd)],
                statement.credits_usd !== 0 && ["Credits", usdText(-statement.credits_usd)],
                statement.tax_usd !== 0 && ["Tax", usdText(statement.tax_usd)],
                ["Total", <strong>{usdText(statement.total_usd)}</strong>],
                statement.paid_usd !== 0 && ["Paid", usdText(statement.paid_usd)],
                statement.refunded_usd !== 0 && ["Refunded", usdText(statement.refunded_usd)],
              ]}
            />
          </div>
        </section>
        {statement.credit_notes.length > 0 ? (
          <section class="panel" aria-labelledby="notes">
            <header>
              <h2 id="notes">Credit notes</h2>
            </header>
            <Credits credits={statement.credit_notes} />
          </section>
        ) : null}
        {legalText && statement.state !== "past_due" ? <p class="small muted">{legalText}</p> : null}
      </div>
    </Layout>
  );
}
