/** The fields of the billing settings, as typed. */
import { Field, TextField } from "../../parts/form.tsx";

/** By name of the field; a switch is `yes` or empty. */
export type SettingsForm = Record<SettingName, string>;

export const NUMBERS = [
  ["grace_hours", "Grace in hours", "After the end of a month, before it is closed"],
  ["payment_terms_days", "Payment terms in days", "From the closing to the due date"],
  ["sign_up_credit_usd", "Credit at sign-up in US dollars", "For each new team; 0 = none"],
  ["cpu_watts_per_core", "Watts of a CPU core", "Estimate of the energy of work without GPUs"],
  ["grams_per_kwh", "Grams of CO2 for a kWh", "For the carbon of a job"],
] as const;

/** What follows when an invoice stays unpaid; days count from its due date. */
export const LATE_NUMBERS = [
  ["notice_days", "Days to the notice", "After the due date; the late fee is charged then"],
  ["no_new_work_days", "Days to no new paid work", "What runs continues, and jobs wait in the queue"],
  ["suspend_days", "Days to the suspension", "Jobs save a checkpoint and stop, endpoints stop, data stays"],
  ["fee_usd", "Late fee in US dollars", "Once for each late invoice; 0 = none"],
  ["monthly_interest_percent", "Interest in percent a month", "Of the unpaid amount, by the day; 0 = none"],
] as const;

export const SWITCHES = [
  ["public_prices", "Prices are shown without sign-in"],
  ["credit_failed_work", "Failed work is credited by itself"],
  ["automatic_tax", "Stripe calculates tax"],
  ["meter_events", "Each metered use is sent to a meter of Stripe (mode Stripe)"],
  ["own_hosts_exempt", "Work on own hosts starts although an invoice is late"],
] as const;

type SettingName =
  | "mode"
  | "first_month"
  | "collection"
  | "legal_text"
  | (typeof NUMBERS)[number][0]
  | (typeof LATE_NUMBERS)[number][0]
  | (typeof SWITCHES)[number][0];

const MODES = [
  ["off", "Off"],
  ["chargeback", "Charge-back"],
  ["stripe", "Stripe"],
] as const;

const COLLECTIONS = [
  ["charge", "Charge the stored card"],
  ["send", "Send an invoice with payment terms"],
] as const;

function Choice(props: {
  name: string;
  label: string;
  hint: string;
  value: string;
  options: typeof MODES | typeof COLLECTIONS;
}) {
  return (
    <Field
      id={`field-${props.name}`}
      label={props.label}
      hint={props.hint}
      render={(ids) => (
        <select name={props.name} {...ids}>
          {props.options.map(([value, label]) => (
            <option value={value} selected={value === props.value}>
              {label}
            </option>
          ))}
        </select>
      )}
    />
  );
}

export function BillingSettingsForm({ form }: { form: SettingsForm }) {
  return (
    <>
      <div class="fields">
        <Choice
          name="mode"
          label="Mode"
          hint="Off: nobody is charged. Charge-back: monthly statements without payment. Stripe: invoices. Statements stay as they are."
          value={form.mode}
          options={MODES}
        />
        <TextField
          name="first_month"
          label="First month to close"
          value={form.first_month}
          placeholder="2026-12"
          hint="Empty: the first month whose closing is still ahead. What was used before is never charged."
        />
        <Choice
          name="collection"
          label="How teams pay"
          hint="Unless the account of a team says otherwise"
          value={form.collection}
          options={COLLECTIONS}
        />
        {NUMBERS.map(([name, label, hint]) => (
          <TextField name={name} label={label} hint={hint} value={form[name]} inputmode="decimal" required />
        ))}
      </div>
      <h3>Late payment</h3>
      <p class="muted small">
        In the mode Stripe only. Days count from the due date of the oldest unpaid invoice of a team. Payment restores
        everything within a minute.
      </p>
      <div class="fields">
        {LATE_NUMBERS.map(([name, label, hint]) => (
          <TextField name={name} label={label} hint={hint} value={form[name]} inputmode="decimal" required />
        ))}
      </div>
      <Field
        id="field-legal_text"
        label="Legal text"
        hint="On invoices, statements and the page of a team with an overdue invoice"
        render={(ids) => (
          <textarea name="legal_text" rows={3} maxlength={4000} {...ids}>
            {form.legal_text}
          </textarea>
        )}
      />
      {SWITCHES.map(([name, label]) => (
        <label class="check">
          <input type="checkbox" name={name} value="yes" checked={form[name] === "yes"} />
          {label}
        </label>
      ))}
    </>
  );
}
