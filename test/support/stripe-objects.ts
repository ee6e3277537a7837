/** Objects of Stripe in the shape of its own examples (test/fixtures/stripe): no field more, no field less. */
import type Stripe from "stripe";
import examples from "../fixtures/stripe/objects.json";

export interface Objects {
  account: Stripe.Account;
  "billing.meter": Stripe.Billing.Meter;
  "billing.meter_event": Stripe.Billing.MeterEvent;
  "billing_portal.session": Stripe.BillingPortal.Session;
  charge: Stripe.Charge;
  "checkout.session": Stripe.Checkout.Session;
  credit_note: Stripe.CreditNote;
  customer: Stripe.Customer;
  dispute: Stripe.Dispute;
  event: Stripe.Event;
  invoice: Stripe.Invoice;
  invoice_payment: Stripe.InvoicePayment;
  invoiceitem: Stripe.InvoiceItem;
  payment_intent: Stripe.PaymentIntent;
  payment_method: Stripe.PaymentMethod;
  refund: Stripe.Refund;
  setup_intent: Stripe.SetupIntent;
  webhook_endpoint: Stripe.WebhookEndpoint;
}

/** An object with the fields of Stripe's example. @throws Error for a field that the example does not have */
export function objectOf<K extends keyof Objects>(kind: K, values: Partial<Objects[K]>): Objects[K] {
  const example = examples[kind] as Record<string, unknown>;
  const foreign = Object.keys(values).filter((name) => !(name in example));
  if (foreign.length > 0) throw new Error(`Stripe's ${kind} has no ${foreign.join(", ")}`);
  const livemode = "livemode" in example ? { livemode: false } : {};
  return { ...structuredClone(example), ...livemode, ...values } as unknown as Objects[K];
}

/** What another server answered, reduced to the fields that Stripe's example has. */
export function reshaped<K extends keyof Objects>(kind: K, given: object): Objects[K] {
  const example = examples[kind] as Record<string, unknown>;
  const known = Object.entries(given).filter(([name]) => name in example);
  return objectOf(kind, Object.fromEntries(known) as Partial<Objects[K]>);
}
