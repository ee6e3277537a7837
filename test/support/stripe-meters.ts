/** Meters of the test account: one active meter for each event name, and events that are known by their identifier. */
import type Stripe from "stripe";
import { pageOf, Refused, type Values, word, wordsOf } from "./stripe-http.ts";
import { objectOf } from "./stripe-objects.ts";

const DAY_S = 86_400;

interface Account {
  id(prefix: string): string;
  /** Seconds since 1970. */
  now(): number;
  customer(id: string): Promise<Stripe.Customer>;
}

const refuse = (message: string, param?: string) =>
  new Refused(400, { type: "invalid_request_error", message, ...(param ? { param } : {}) });

export function meteringOf({ id, now, customer }: Account) {
  const meters = new Map<string, Stripe.Billing.Meter>();
  /** Every event that was counted. */
  const counted: Stripe.Billing.MeterEvent[] = [];
  const known = new Map<string, number>();

  function createMeter(form: Values): Stripe.Billing.Meter {
    const name = word(form, "event_name") ?? "";
    if ([...meters.values()].some((each) => each.event_name === name && each.status === "active"))
      throw refuse(`There is already an active meter with the event name ${name}.`, "event_name");
    const made = objectOf("billing.meter", {
      id: id("mtr"),
      created: now(),
      updated: now(),
      display_name: word(form, "display_name") ?? "",
      event_name: name,
      default_aggregation: wordsOf(form.default_aggregation) as unknown as Stripe.Billing.Meter.DefaultAggregation,
      customer_mapping: wordsOf(form.customer_mapping) as unknown as Stripe.Billing.Meter.CustomerMapping,
      value_settings: wordsOf(form.value_settings) as unknown as Stripe.Billing.Meter.ValueSettings,
      status: "active",
    });
    meters.set(made.id, made);
    return made;
  }

  async function countUse(form: Values): Promise<Stripe.Billing.MeterEvent> {
    const name = word(form, "event_name") ?? "";
    const meter = [...meters.values()].find((each) => each.event_name === name && each.status === "active");
    if (!meter) throw refuse(`No active meter found corresponding to event name ${name}.`, "event_name");
    const identifier = word(form, "identifier") ?? id("mtrevt");
    if (identifier.length > 100) throw refuse("Invalid string: must be at most 100 characters", "identifier");
    const until = known.get(identifier) ?? 0;
    if (until > now()) throw refuse(`An event already exists with identifier ${identifier}.`, "identifier");
    const timestamp = Number(word(form, "timestamp") ?? now());
    if (timestamp < now() - 35 * DAY_S || timestamp > now() + 300)
      throw refuse("The timestamp must be within the past 35 days or up to 5 minutes in the future.", "timestamp");
    const payload = wordsOf(form.payload);
    if (!/^-?\d+$/.test(payload[meter.value_settings.event_payload_key] ?? ""))
      throw refuse("The value must be a whole number.", "payload");
    await customer(payload[meter.customer_mapping.event_payload_key] ?? "");
    const values = { identifier, event_name: name, payload, created: now(), timestamp };
    const made = objectOf("billing.meter_event", values);
    known.set(identifier, now() + DAY_S);
    counted.push(made);
    return made;
  }

  const withStatus = (status: string | null) =>
    [...meters.values()].filter((each) => status === null || each.status === status);
  const routes: [RegExp, (form: Values) => unknown][] = [
    [/^GET \/v1\/billing\/meters$/, (form) => pageOf(withStatus(word(form, "status")), form, "/v1/billing/meters")],
    [/^POST \/v1\/billing\/meters$/, createMeter],
    [/^POST \/v1\/billing\/meter_events$/, countUse],
  ];
  return { meters, counted, routes };
}
