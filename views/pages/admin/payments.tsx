/** How payments with Stripe are set up: the keys, the webhook, and a test with Stripe's own answers. */
import type { StripeConnection, StripeTest } from "../../../src/billing/stripe/connection.ts";
import type { SecretSettingView } from "../../../src/insights/installation/secret-settings.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { TestMode } from "../../parts/test-mode.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

export interface PaymentsProps {
  stripe: StripeConnection;
  /** The two keys, without their values. */
  secrets: SecretSettingView[];
  tested?: StripeTest;
  error?: string;
}

const WEBHOOK: Record<StripeTest["webhook"], string> = {
  ok: "The webhook endpoint is enabled, with the right version and events.",
  no_public_url: "Set public_url: Stripe sends events to this address.",
  missing: "Stripe has no webhook endpoint with this address. Create it in Stripe: Developers, Webhooks.",
  disabled: "The webhook endpoint is disabled at Stripe. Enable it there.",
  other_version: "The webhook endpoint uses another API version. Create one with the version below.",
  missing_events: "The webhook endpoint does not send all events. Add the missing ones at Stripe.",
  no_secret: "The webhook endpoint is right, but its signing secret is not entered here.",
};

function Tested({ tested }: { tested: StripeTest }) {
  const good = tested.charges_enabled && tested.webhook === "ok";
  return (
    <Notice kind={good ? "ok" : "warn"} title={`Stripe answers for ${tested.name ?? tested.account}`} alert>
      <ul>
        <li>
          Account <code>{tested.account}</code>, {tested.mode} mode
        </li>
        <li>
          {tested.charges_enabled ? "It may charge cards." : "It may not charge cards yet: complete it at Stripe."}
        </li>
        <li>
          {WEBHOOK[tested.webhook]}
          {tested.missing_events.length > 0 ? ` Missing: ${tested.missing_events.join(", ")}.` : ""}
        </li>
      </ul>
    </Notice>
  );
}

function Secret({ of, name, label }: { of: SecretSettingView | undefined; name: string; label: string }) {
  const fixed = of?.source !== undefined && of.source !== null && of.source !== "page";
  const state = of?.source === "page" ? "Set, stored encrypted. Empty: as it is." : "It is stored encrypted.";
  return (
    <TextField
      name={name}
      label={label}
      type="password"
      autocomplete="off"
      maxlength={300}
      readonly={fixed}
      hint={fixed ? "Set by the configuration; it cannot be changed here." : state}
    />
  );
}

/** Uses that go to the meters of Stripe; nothing while that is off and nothing is left. */
function MeterEvents({ state }: { state: StripeConnection["meter_events"] }) {
  if (!state.enabled && state.waiting + state.failed === 0) return null;
  return (
    <section class="panel" id="meters" aria-labelledby="meters-title">
      <header>
        <h2 id="meters-title">Meters of Stripe</h2>
      </header>
      <div class="body stack tight">
        {state.error ? (
          <Notice kind={state.failed > 0 ? "bad" : "warn"} title="Uses could not be sent">
            {state.error}
          </Notice>
        ) : null}
        <KeyValue
          rows={[
            ["Sending", state.enabled ? "On" : "Off: the mode is not Stripe, or it is switched off under Billing"],
            ["Waiting", `${plural(state.waiting, "use")}`],
            state.oldest_at !== null && ["Oldest", <Time at={state.oldest_at * 1000} />],
            state.failed > 0 && ["Never sent", `${plural(state.failed, "use")}. Invoices have them all the same.`],
          ]}
        />
      </div>
    </section>
  );
}

export function PaymentsPage({ stripe, secrets, tested, error }: PaymentsProps) {
  const named = (name: string) => secrets.find((each) => each.name === name);
  return (
    <AdminLayout title="Payments">
      <TestMode mode={stripe.mode} />
      {stripe.mode === null ? (
        <Notice kind="info" title="Stripe is not set up">
          Usage and costs are shown without it, and monthly statements need no Stripe. With a key, invoices are sent and
          cards are charged once the billing mode is stripe.
        </Notice>
      ) : null}
      <section class="panel" id="keys">
        <header>
          <h2>Keys of Stripe</h2>
        </header>
        <PostForm class="body form" action="/admin/payments">
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <div class="fields">
            <Secret of={named("stripe_secret_key")} name="stripe_secret_key" label="Secret key" />
            <Secret
              of={named("stripe_webhook_secret")}
              name="stripe_webhook_secret"
              label="Signing secret of the webhook"
            />
          </div>
          <div class="row">
            <button type="submit" class="button primary">
              Save
            </button>
          </div>
        </PostForm>
      </section>
      <section class="panel" id="webhook">
        <header>
          <h2>Webhook endpoint at Stripe</h2>
        </header>
        <div class="body stack tight">
          <dl class="pairs">
            <dt>Address</dt>
            <dd>{stripe.webhook_url ? <code class="wrap-any">{stripe.webhook_url}</code> : "Set public_url first."}</dd>
            <dt>API version</dt>
            <dd>
              <code>{stripe.api_version}</code>
            </dd>
            <dt>Events</dt>
            <dd>
              <code class="wrap-any">{stripe.webhook_events.join(", ")}</code>
            </dd>
          </dl>
        </div>
      </section>
      <MeterEvents state={stripe.meter_events} />
      {stripe.mode ? (
        <section class="panel" id="test">
          <header>
            <h2>Test</h2>
          </header>
          <div class="body stack tight">
            {tested ? <Tested tested={tested} /> : null}
            <PostForm class="stack tight" action="/admin/payments/test">
              <p class="muted">Asks Stripe for the account and the webhook endpoint. It changes nothing.</p>
              <button type="submit" class="button">
                Test the connection
              </button>
            </PostForm>
          </div>
        </section>
      ) : null}
    </AdminLayout>
  );
}
