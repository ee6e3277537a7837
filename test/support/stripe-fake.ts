/**
 * A Stripe account for tests, over HTTP. Customers, cards, payments and refunds are localstripe's; invoices, Checkout,
 * the portal, tax, credit notes, meters, disputes, events and idempotency keys are answered here, in the shape of
 * Stripe's own examples.
 */
import Stripe from "stripe";
import { startLocalstripe } from "./localstripe.ts";
import {
  expands,
  idempotent,
  missing,
  pageOf,
  Refused,
  type Seen,
  serveStripe,
  textOf,
  type Values,
  word,
  wordsOf,
} from "./stripe-http.ts";
import { invoicesOf } from "./stripe-invoices.ts";
import { meteringOf } from "./stripe-meters.ts";
import { type Objects, objectOf, reshaped } from "./stripe-objects.ts";

export const TEST_KEY = "sk_test_51TestOfFineTuneLab";
export const SIGNING_SECRET = "whsec_testSigningSecretOfFineTuneLab";
/** Card numbers that localstripe accepts, declines when charged, and wants confirmed by its owner. */
export const CARDS = { good: "4242424242424242", declined: "4000000000000341", confirm: "4000002760003184" };

interface Options {
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** A body as Stripe posts it, and its signature. */
export async function signed(event: object | string, secret = SIGNING_SECRET, at = Date.now()) {
  const payload = typeof event === "string" ? event : JSON.stringify(event, null, 2);
  const timestamp = Math.floor(at / 1000);
  const { webhooks } = new Stripe(TEST_KEY);
  return { payload, signature: await webhooks.generateTestHeaderStringAsync({ payload, secret, timestamp }) };
}

export async function startStripe({ now = Date.now }: Options = {}) {
  const behind = await startLocalstripe();
  const events: Stripe.Event[] = [];
  /** What localstripe does not keep of a customer. */
  const extras = new Map<string, Partial<Stripe.Customer>>();
  const sessions = new Map<string, Stripe.Checkout.Session>();
  const disputes = new Map<string, Stripe.Dispute>();
  const customers: string[] = [];
  const keys = idempotent();
  let count = 0;
  const id = (prefix: string) => `${prefix}_test${String(++count).padStart(6, "0")}`;
  const seconds = () => Math.floor(now() / 1000);

  function emit(type: Stripe.Event["type"], object: { id: string }, before?: object): void {
    const data = { object: structuredClone(object), ...(before ? { previous_attributes: before } : {}) };
    const values = { id: id("evt"), type, created: seconds(), api_version: "2026-10-28.endive", data };
    events.push(objectOf("event", values as unknown as Partial<Stripe.Event>));
  }

  /** Asks localstripe. */
  async function relay<K extends keyof Objects>(kind: K, method: string, path: string, form?: Values) {
    const answer = await fetch(`${behind.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${TEST_KEY}`, "content-type": "application/x-www-form-urlencoded" },
      body: form && Object.keys(form).length > 0 ? textOf(form) : undefined,
    });
    const text = await answer.text();
    if (!answer.ok) {
      const error = (JSON.parse(text) as { error?: { code?: string; message: string } }).error;
      const message = error?.message ?? text;
      throw answer.status === 404 ? missing(kind, path) : new Refused(answer.status, { code: error?.code, message });
    }
    return reshaped(kind, JSON.parse(text) as object);
  }

  async function customer(cus: string, expand = false): Promise<Stripe.Customer> {
    const found = { ...(await relay("customer", "GET", `/v1/customers/${cus}`)), ...extras.get(cus) };
    const method = found.invoice_settings.default_payment_method;
    if (expand && typeof method === "string")
      found.invoice_settings.default_payment_method = await relay(
        "payment_method",
        "GET",
        `/v1/payment_methods/${method}`,
      );
    return found;
  }

  /** localstripe refuses fields that it does not know. */
  async function saveCustomer(path: string, { tax_exempt: exempt, tax: _tax, preferred_locales: _l, ...form }: Values) {
    const saved = await relay("customer", "POST", path, Object.keys(form).length > 0 ? form : { description: "same" });
    const more = { tax_exempt: (exempt ?? extras.get(saved.id)?.tax_exempt ?? "none") as "none" };
    extras.set(saved.id, more);
    if (!customers.includes(saved.id)) customers.push(saved.id);
    return { ...saved, ...more };
  }

  async function charge(cus: string, method: string, cents: number) {
    const form = { amount: String(cents), currency: "usd", customer: cus, payment_method: method };
    const made = await relay("payment_intent", "POST", "/v1/payment_intents", form);
    const confirmed = await relay("payment_intent", "POST", `/v1/payment_intents/${made.id}/confirm`, {}).catch(
      (cause) => {
        if (cause instanceof Refused && cause.status === 402)
          return { ...made, status: "requires_payment_method" as const };
        throw cause;
      },
    );
    return { intent: made.id, status: confirmed.status as string };
  }

  const chargeOf = async (intent: string): Promise<Stripe.Charge> => {
    const { latest_charge: latest } = await relay("payment_intent", "GET", `/v1/payment_intents/${intent}`);
    if (!latest || typeof latest === "string") throw missing("charge", intent);
    return reshaped("charge", latest);
  };

  async function refund(intent: string, cents: number, metadata: Record<string, string>): Promise<Stripe.Refund> {
    const before = refunds
      .filter((each) => each.payment_intent === intent)
      .reduce((sum, { amount }) => sum + amount, 0);
    const of = await chargeOf(intent);
    if (before + cents > of.amount)
      throw new Refused(400, {
        type: "invalid_request_error",
        code: "charge_already_refunded",
        message: `Refund amount ($${(cents / 100).toFixed(2)}) is greater than unrefunded amount on charge.`,
      });
    const form = { payment_intent: intent, amount: String(cents), ...(metadata.credit ? { metadata } : {}) };
    const made = await relay("refund", "POST", "/v1/refunds", form);
    refunds.push(made);
    const refunded: Stripe.Charge = { ...of, amount_refunded: before + cents };
    emit("charge.refunded", refunded);
    return made;
  }
  const refunds: Stripe.Refund[] = [];
  const billing = invoicesOf({ id, now: seconds, emit, customer, charge, refund });

  function openCheckout(form: Values): Stripe.Checkout.Session {
    const made = objectOf("checkout.session", {
      id: id("cs"),
      created: seconds(),
      mode: word(form, "mode") as "setup",
      customer: word(form, "customer"),
      client_reference_id: word(form, "client_reference_id"),
      metadata: wordsOf(form.metadata),
      success_url: word(form, "success_url"),
      cancel_url: word(form, "cancel_url"),
      status: "open",
      setup_intent: null,
    });
    made.url = `https://checkout.stripe.com/c/pay/${made.id}`;
    sessions.set(made.id, made);
    return made;
  }

  function openPortal(form: Values): Stripe.BillingPortal.Session {
    const values = {
      id: id("bps"),
      created: seconds(),
      customer: word(form, "customer") ?? "",
      return_url: word(form, "return_url"),
    };
    return objectOf("billing_portal.session", { ...values, url: `https://billing.stripe.com/p/session/${values.id}` });
  }

  const metering = meteringOf({ id, now: seconds, customer });

  const one = <T>(map: Map<string, T>, what: string, of: string): T => {
    const found = map.get(of);
    if (!found) throw missing(what, of);
    return found;
  };

  async function removeDraft(of: string) {
    billing.draft(of);
    billing.invoices.delete(of);
    return { id: of, object: "invoice", deleted: true };
  }

  function removeItem(of: string) {
    const item = one(billing.items, "invoiceitem", of);
    billing.items.delete(of);
    if (item.invoice) billing.sum(billing.find(String(item.invoice)));
    return { id: of, object: "invoiceitem", deleted: true };
  }

  type Route = [pattern: RegExp, act: (form: Values, id: string) => unknown];
  const list = <T extends { id: string; created?: number }>(rows: Iterable<T>, form: Values, path: string) =>
    pageOf([...rows], form, path);
  const routes: Route[] = [
    [/^GET \/v1\/account$/, () => objectOf("account", { id: "acct_test", charges_enabled: true })],
    [/^GET \/v1\/webhook_endpoints$/, (form) => list(endpoints, form, "/v1/webhook_endpoints")],
    [/^POST \/v1\/customers$/, (form) => saveCustomer("/v1/customers", form)],
    [
      /^GET \/v1\/customers\/search$/,
      async (form) => {
        const wanted = /metadata\['org'\]:'([^']*)'/.exec(word(form, "query") ?? "")?.[1];
        const all = await Promise.all(customers.map((each) => customer(each)));
        return {
          object: "search_result",
          url: "",
          has_more: false,
          data: all.filter((row) => row.metadata?.org === wanted),
        };
      },
    ],
    [
      /^GET \/v1\/customers\/([^/]+)$/,
      (form, of) => customer(of, expands(form, "invoice_settings.default_payment_method")),
    ],
    [
      /^POST \/v1\/customers\/([^/]+)$/,
      async (form, of) => {
        const saved = await saveCustomer(`/v1/customers/${of}`, form);
        emit("customer.updated", saved);
        return saved;
      },
    ],
    [
      /^GET \/v1\/payment_methods\/([^/]+)$/,
      (_form, of) => relay("payment_method", "GET", `/v1/payment_methods/${of}`),
    ],
    [/^POST \/v1\/checkout\/sessions$/, openCheckout],
    [
      /^GET \/v1\/checkout\/sessions\/([^/]+)$/,
      (form, of) => {
        const found = structuredClone(one(sessions, "checkout.session", of));
        const { setup_intent: intent } = found;
        if (typeof intent === "string" && expands(form, "setup_intent"))
          found.setup_intent = one(setups, "setup_intent", intent);
        return found;
      },
    ],
    [/^POST \/v1\/billing_portal\/sessions$/, openPortal],
    ...metering.routes,
    [/^POST \/v1\/invoices$/, billing.create],
    [
      /^GET \/v1\/invoices$/,
      (form) =>
        list(
          [...billing.invoices.values()].filter((row) => row.customer === (word(form, "customer") ?? row.customer)),
          form,
          "/v1/invoices",
        ),
    ],
    [/^GET \/v1\/invoices\/([^/]+)$/, (_form, of) => billing.find(of)],
    [/^DELETE \/v1\/invoices\/([^/]+)$/, (_form, of) => removeDraft(of)],
    [/^POST \/v1\/invoices\/([^/]+)\/finalize$/, (form, of) => billing.finalize(of, form)],
    [/^POST \/v1\/invoices\/([^/]+)\/send$/, (_form, of) => billing.find(of)],
    [/^POST \/v1\/invoices\/([^/]+)\/void$/, (_form, of) => billing.end(of, "void")],
    [/^POST \/v1\/invoices\/([^/]+)\/pay$/, (_form, of) => billing.payAgain(of)],
    [/^POST \/v1\/invoices\/([^/]+)\/mark_uncollectible$/, (_form, of) => billing.end(of, "uncollectible")],
    [
      /^POST \/v1\/invoices\/([^/]+)$/,
      (form, of) => billing.set(billing.find(of), { auto_advance: word(form, "auto_advance") === "true" }),
    ],
    [/^POST \/v1\/invoiceitems$/, billing.addItem],
    [
      /^GET \/v1\/invoiceitems$/,
      (form) => list(billing.itemsOf(word(form, "invoice") ?? ""), form, "/v1/invoiceitems"),
    ],
    [/^DELETE \/v1\/invoiceitems\/([^/]+)$/, (_form, of) => removeItem(of)],
    [/^GET \/v1\/invoice_payments$/, (form) => list(billing.paymentsOf(form), form, "/v1/invoice_payments")],
    [
      /^POST \/v1\/refunds$/,
      (form) => refund(word(form, "payment_intent") ?? "", Number(form.amount), wordsOf(form.metadata)),
    ],
    [
      /^GET \/v1\/refunds$/,
      (form) =>
        list(
          refunds.filter((row) => row.payment_intent === word(form, "payment_intent")),
          form,
          "/v1/refunds",
        ),
    ],
    [/^POST \/v1\/credit_notes$/, billing.credit],
    [
      /^GET \/v1\/credit_notes$/,
      (form) =>
        list(
          [...billing.notes.values()].filter((row) => row.invoice === word(form, "invoice")),
          form,
          "/v1/credit_notes",
        ),
    ],
    [/^GET \/v1\/charges\/([^/]+)$/, (_form, of) => relay("charge", "GET", `/v1/charges/${of}`)],
    [/^GET \/v1\/disputes\/([^/]+)$/, (_form, of) => one(disputes, "dispute", of)],
    [/^GET \/v1\/events$/, (form) => list(events, form, "/v1/events")],
  ];
  const setups = new Map<string, Stripe.SetupIntent>();
  const endpoints: Stripe.WebhookEndpoint[] = [];

  async function answer({ method, path, form, key }: Seen): Promise<unknown> {
    for (const [pattern, act] of routes) {
      const match = pattern.exec(`${method} ${path}`);
      if (!match) continue;
      const run = async () => structuredClone(await act(form, match[1] ?? ""));
      return method === "POST" ? keys.once(key, `${path} ${JSON.stringify(form)}`, run) : run();
    }
    throw new Refused(404, {
      type: "invalid_request_error",
      message: `Unrecognized request URL (${method}: ${path}).`,
    });
  }

  const server = serveStripe(TEST_KEY, answer);

  /** What a person does in Checkout: enters a card. */
  async function completeCheckout(session: string, number = CARDS.good): Promise<void> {
    const found = one(sessions, "checkout.session", session);
    const card = { number, exp_month: "4", exp_year: "2031", cvc: "123" };
    const method = await relay("payment_method", "POST", "/v1/payment_methods", { type: "card", card });
    const attach = { customer: String(found.customer) };
    const attached = await relay("payment_method", "POST", `/v1/payment_methods/${method.id}/attach`, attach);
    const setup = objectOf("setup_intent", {
      id: id("seti"),
      customer: String(found.customer),
      payment_method: method.id,
      status: "succeeded",
    });
    setups.set(setup.id, setup);
    Object.assign(found, { setup_intent: setup.id, status: "complete" });
    emit("payment_method.attached", attached);
    emit("checkout.session.completed", found);
  }

  /** What a cardholder does at their bank. */
  async function openDispute(invoice: string): Promise<Stripe.Dispute> {
    const payment = [...billing.payments.values()].find((row) => row.invoice === invoice && row.status === "paid");
    const intent = String(payment?.payment.payment_intent);
    const of = await chargeOf(intent);
    const made = objectOf("dispute", {
      id: id("du"),
      charge: of.id,
      payment_intent: intent,
      amount: of.amount,
      status: "needs_response",
    });
    disputes.set(made.id, made);
    emit("charge.dispute.created", made);
    return made;
  }

  function closeDispute(of: string, status: "won" | "lost"): void {
    emit("charge.dispute.closed", Object.assign(one(disputes, "dispute", of), { status }));
  }

  return {
    url: server.url,
    seen: server.seen,
    failNext: server.failNext,
    failNoMore: server.failNoMore,
    events,
    ...billing,
    refunds,
    customers,
    customer,
    meters: metering.meters,
    /** Uses that meters counted. */
    counted: metering.counted,
    endpoints,
    emit,
    completeCheckout,
    openDispute,
    closeDispute,
    /** Forgets idempotency keys, as Stripe may after 24 hours. */
    forgetKeys: keys.forget,
    async stop() {
      await server.stop();
      await behind.stop();
    },
  };
}
export type TestStripe = Awaited<ReturnType<typeof startStripe>>;
