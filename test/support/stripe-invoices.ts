/** Invoices, their items and payments, and credit notes of the test account. localstripe has old forms of them. */
import type Stripe from "stripe";
import { missing, Refused, type Values, word, wordsOf } from "./stripe-http.ts";
import { objectOf } from "./stripe-objects.ts";

/** What invoices need from the rest of the account. */
interface Account {
  id(prefix: string): string;
  /** Seconds since 1970. */
  now(): number;
  emit(type: Stripe.Event["type"], object: { id: string }, before?: object): void;
  customer(id: string): Promise<Stripe.Customer>;
  /** Charges a payment method. */
  charge(customer: string, method: string, cents: number): Promise<{ intent: string; status: string }>;
  refund(intent: string, cents: number, metadata: Record<string, string>): Promise<Stripe.Refund>;
}

const customerOf = (invoice: Stripe.Invoice) => String(invoice.customer);

const TAX_PERCENT = 20;

export function invoicesOf(account: Account) {
  const invoices = new Map<string, Stripe.Invoice>();
  const items = new Map<string, Stripe.InvoiceItem>();
  const payments = new Map<string, Stripe.InvoicePayment>();
  const notes = new Map<string, Stripe.CreditNote>();
  let number = 0;

  const find = (id: string): Stripe.Invoice => {
    const found = invoices.get(id);
    if (!found) throw missing("invoice", id);
    return found;
  };
  const itemsOf = (id: string) => [...items.values()].filter((item) => item.invoice === id);
  const set = (invoice: Stripe.Invoice, values: Partial<Stripe.Invoice>) =>
    Object.assign(invoice, objectOf("invoice", { ...invoice, ...values }));
  const draft = (id: string) => {
    const found = find(id);
    if (found.status !== "draft")
      throw new Refused(400, { type: "invalid_request_error", message: "This invoice is not a draft." });
    return found;
  };

  function sum(invoice: Stripe.Invoice): void {
    const subtotal = itemsOf(invoice.id).reduce((total, { amount }) => total + amount, 0);
    const tax =
      invoice.automatic_tax.enabled && invoice.customer_tax_exempt !== "exempt"
        ? Math.round((subtotal * TAX_PERCENT) / 100)
        : 0;
    const due = subtotal + tax;
    set(invoice, {
      subtotal,
      subtotal_excluding_tax: subtotal,
      total: due,
      total_excluding_tax: subtotal,
      amount_due: due,
      amount_remaining: due,
      total_taxes: tax > 0 ? [{ amount: tax } as Stripe.Invoice.TotalTax] : [],
    });
  }

  async function create(form: Values): Promise<Stripe.Invoice> {
    const customer = await account.customer(word(form, "customer") ?? "");
    const id = account.id("in");
    const invoice = objectOf("invoice", {
      id,
      created: account.now(),
      customer: customer.id,
      customer_email: customer.email,
      customer_tax_exempt: customer.tax_exempt ?? "none",
      currency: word(form, "currency") ?? "usd",
      collection_method: (word(form, "collection_method") ?? "charge_automatically") as "charge_automatically",
      auto_advance: word(form, "auto_advance") === "true",
      description: word(form, "description"),
      footer: word(form, "footer"),
      due_date: form.days_until_due ? account.now() + Number(form.days_until_due) * 86_400 : null,
      metadata: wordsOf(form.metadata),
      automatic_tax: {
        ...objectOf("invoice", {}).automatic_tax,
        enabled: wordsOf(form.automatic_tax).enabled === "true",
      },
      status: "draft",
      number: null,
      hosted_invoice_url: null,
      amount_paid: 0,
      attempted: false,
      attempt_count: 0,
      post_payment_credit_notes_amount: 0,
      pre_payment_credit_notes_amount: 0,
    });
    invoices.set(id, invoice);
    if (word(form, "pending_invoice_items_behavior") !== "exclude")
      for (const item of items.values()) if (item.customer === customer.id && !item.invoice) item.invoice = id;
    sum(invoice);
    account.emit("invoice.created", invoice);
    return invoice;
  }

  async function addItem(form: Values): Promise<Stripe.InvoiceItem> {
    const invoice = word(form, "invoice");
    if (invoice) draft(invoice);
    await account.customer(word(form, "customer") ?? "");
    const amount = Number(form.amount);
    if (!Number.isSafeInteger(amount)) throw new Refused(400, { message: "Invalid integer", param: "amount" });
    const item = objectOf("invoiceitem", {
      id: account.id("ii"),
      customer: word(form, "customer") ?? "",
      invoice,
      amount,
      currency: word(form, "currency") ?? "usd",
      description: word(form, "description"),
      metadata: wordsOf(form.metadata),
      date: account.now(),
      quantity: 1,
    });
    items.set(item.id, item);
    if (invoice) sum(find(invoice));
    return item;
  }

  async function pay(invoice: Stripe.Invoice): Promise<void> {
    const customer = await account.customer(customerOf(invoice));
    const method = customer.invoice_settings.default_payment_method;
    const count = { attempted: true, attempt_count: invoice.attempt_count + 1 };
    if (!method) {
      set(invoice, count);
      return account.emit("invoice.payment_failed", invoice);
    }
    const { intent, status } = await account.charge(customer.id, String(method), invoice.amount_remaining);
    const succeeded = status === "succeeded";
    const payment = objectOf("invoice_payment", {
      id: account.id("inpay"),
      created: account.now(),
      invoice: invoice.id,
      amount_requested: invoice.amount_remaining,
      amount_paid: succeeded ? invoice.amount_remaining : null,
      currency: "usd",
      status: succeeded ? "paid" : "open",
      payment: { type: "payment_intent", payment_intent: intent },
    });
    payments.set(payment.id, payment);
    set(invoice, count);
    if (succeeded) return paid(invoice);
    account.emit(status === "requires_action" ? "invoice.payment_action_required" : "invoice.payment_failed", invoice);
  }

  /** With the present card, as a request to pay does. */
  async function payAgain(id: string): Promise<Stripe.Invoice> {
    const invoice = find(id);
    if (invoice.status !== "open") throw new Refused(400, { message: "Invoice is not open." });
    await pay(invoice);
    if ((invoice.status as string) !== "paid")
      throw new Refused(402, { type: "card_error", code: "card_declined", message: "Your card was declined." });
    return invoice;
  }

  /** Payments of an invoice, or those with a payment intent. */
  function paymentsOf(form: Values): Stripe.InvoicePayment[] {
    const intent = wordsOf(form.payment).payment_intent;
    return [...payments.values()].filter(
      (row) =>
        row.invoice === (word(form, "invoice") ?? row.invoice) &&
        row.status === (word(form, "status") ?? row.status) &&
        row.payment.payment_intent === (intent ?? row.payment.payment_intent),
    );
  }

  function paid(invoice: Stripe.Invoice): void {
    const { amount_due: amount } = invoice;
    const transitions = { ...invoice.status_transitions, paid_at: account.now() };
    set(invoice, { status: "paid", amount_paid: amount, amount_remaining: 0, status_transitions: transitions });
    account.emit("invoice.paid", invoice);
  }

  async function finalize(id: string, form: Values): Promise<Stripe.Invoice> {
    const invoice = draft(id);
    sum(invoice);
    number += 1;
    set(invoice, {
      status: "open",
      number: `TEST-${String(number).padStart(4, "0")}`,
      hosted_invoice_url: `https://invoice.stripe.com/i/test/${id}`,
      auto_advance: (word(form, "auto_advance") ?? String(invoice.auto_advance)) === "true",
      status_transitions: { ...invoice.status_transitions, finalized_at: account.now() },
    });
    account.emit("invoice.finalized", invoice);
    if (invoice.amount_due === 0) paid(invoice);
    else if (invoice.auto_advance && invoice.collection_method === "charge_automatically") await pay(invoice);
    return invoice;
  }

  function end(id: string, status: "void" | "uncollectible"): Stripe.Invoice {
    const invoice = set(find(id), { status, auto_advance: false });
    account.emit(status === "void" ? "invoice.voided" : "invoice.marked_uncollectible", invoice);
    return invoice;
  }

  async function credit(form: Values): Promise<Stripe.CreditNote> {
    const invoice = find(word(form, "invoice") ?? "");
    const amount = Number(form.amount);
    const settled = invoice.status === "paid";
    const before = settled ? invoice.post_payment_credit_notes_amount : invoice.pre_payment_credit_notes_amount;
    if (before + amount > invoice.total)
      throw new Refused(400, { type: "invalid_request_error", message: "The credit note exceeds the invoice." });
    const refunds = Object.values(form.refunds ?? {}) as unknown as { refund: string; amount_refunded: string }[];
    const note = objectOf("credit_note", {
      id: account.id("cn"),
      created: account.now(),
      invoice: invoice.id,
      customer: customerOf(invoice),
      amount,
      total: amount,
      reason: (word(form, "reason") ?? null) as Stripe.CreditNote["reason"],
      memo: word(form, "memo"),
      metadata: wordsOf(form.metadata),
      status: "issued",
      type: settled ? "post_payment" : "pre_payment",
      refunds: refunds.map(({ refund }) => ({ refund, amount_refunded: amount }) as Stripe.CreditNote.Refund),
    });
    notes.set(note.id, note);
    if (settled) set(invoice, { post_payment_credit_notes_amount: before + amount });
    else {
      const left = invoice.amount_due - amount;
      set(invoice, { pre_payment_credit_notes_amount: before + amount, amount_due: left, amount_remaining: left });
      if (left === 0) paid(invoice);
    }
    account.emit("credit_note.created", note);
    return note;
  }

  return {
    invoices,
    items,
    payments,
    notes,
    find,
    itemsOf,
    draft,
    sum,
    create,
    addItem,
    payAgain,
    paymentsOf,
    finalize,
    end,
    credit,
    set,
  };
}
