/** How the team pays: its card as a person recognizes it, and the ways to the pages of Stripe. */
import type { BillingAccount, StripePage } from "../../../src/billing/stripe/account.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { TestMode } from "../../parts/test-mode.tsx";
import { KeyValue } from "../../parts/value.tsx";

const CRUMBS = [{ label: "Billing", href: "/billing/payment" }];

function Card({ account }: { account: BillingAccount }) {
  const { card } = account;
  if (!card)
    return (
      <Empty icon="key" title="No card is stored" slim>
        Store one, and invoices are paid by themselves. You enter it on a page of Stripe; nothing is charged there.
      </Empty>
    );
  return (
    <KeyValue
      rows={[
        ["Card", `${card.brand} •••• ${card.last4}`],
        ["Expires", card.expires],
      ]}
    />
  );
}

/** The panel of the payment method, on its own page and on that of billing. */
export function PaymentPanel({ account }: { account: BillingAccount }) {
  return (
    <section class="panel" id="payment">
      <header>
        <h2>Payment method</h2>
      </header>
      <div class="body stack">
        <Card account={account} />
        <KeyValue
          rows={[
            ["Invoices", account.collection === "charge" ? "Charged to the card" : "Sent, to be paid by the due date"],
            account.tax_exempt && ["Tax", "This team is exempt"],
          ]}
        />
        <div class="row">
          <PostForm action="/billing/payment/card">
            <button type="submit" class="button primary">
              {account.card ? "Replace the card" : "Store a card"}
            </button>
          </PostForm>
          <PostForm action="/billing/payment/portal">
            <button type="submit" class="button">
              Tax id, address and invoices
            </button>
          </PostForm>
        </div>
        <p class="muted small">Both open a page of Stripe. The number of a card is never stored here.</p>
      </div>
    </section>
  );
}

export function PaymentPage({ account, stored }: { account: BillingAccount; stored: boolean }) {
  return (
    <Layout title="Payment method" crumbs={[{ label: "Billing", href: "/billing" }]}>
      <div class="stack">
        <TestMode mode={account.mode} />
        {stored && !account.card ? (
          <Notice kind="info">Stripe has the card. It appears here in a moment; reload the page.</Notice>
        ) : null}
        {account.mode === null ? (
          <Notice kind="info" title="This installation takes no payments">
            Costs are shown for information. An administrator can set up payments.
          </Notice>
        ) : (
          <PaymentPanel account={account} />
        )}
      </div>
    </Layout>
  );
}

/** Shown until the browser has opened the page of Stripe: a form may not lead to another site by itself. */
export function LeavePage({ page }: { page: StripePage }) {
  return (
    <Layout title="Continue to Stripe" crumbs={CRUMBS}>
      <div class="stack">
        <TestMode mode={page.mode} />
        <p>
          <a class="button primary" href={page.url} rel="noreferrer">
            Continue to Stripe
          </a>
        </p>
      </div>
    </Layout>
  );
}
