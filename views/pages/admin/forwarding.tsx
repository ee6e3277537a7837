/** Forwarding of the audit log: one panel for syslog and one for the webhook, each with its state, form and test. */
import type { ComponentChildren } from "preact";
import { formatInteger } from "../../../src/lib/text/format.ts";
import type { ForwardingTest, ForwardingView, Kind, SyslogSettings } from "../../../src/notices/forwarding/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";
import { OneTimeLink } from "./users.tsx";

/** The fields of syslog as typed. */
export type SyslogForm = Record<keyof SyslogSettings, string>;

export interface ForwardingProps {
  syslog: ForwardingView | null;
  webhook: ForwardingView | null;
  form: SyslogForm;
  facilities: readonly string[];
  /** The address as typed, when it was refused. */
  url?: string;
  tested?: ForwardingTest;
  /** A secret that was just created, shown only once. */
  secret?: string;
  problem?: { kind: Kind; message: string };
}

const PATH = "/admin/audit/forwarding";
const TRANSPORTS = [
  ["tls", "TLS (RFC 5425)"],
  ["tcp", "TCP, octet counting (RFC 6587)"],
  ["udp", "UDP (RFC 5426)"],
] as const;

function Select(props: {
  name: string;
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
}) {
  return (
    <Field
      id={`field-${props.name}`}
      label={props.label}
      render={(ids) => (
        <select name={props.name} {...ids}>
          {props.options.map(([value, label]) => (
            <option value={value} selected={props.value === value}>
              {label}
            </option>
          ))}
        </select>
      )}
    />
  );
}

/** Where a new destination begins; one that exists keeps its position. */
const From = ({ view }: { view: ForwardingView | null }) =>
  view ? null : (
    <Select
      name="from"
      label="Begin with"
      value="now"
      options={[
        ["now", "Entries from now on"],
        ["beginning", "All entries that are kept"],
      ]}
    />
  );

function State({ view }: { view: ForwardingView }) {
  const { kind, destination, position, newest, waiting, last_sent_at, last_error, last_error_at, attempts } = view;
  return (
    <>
      {last_error ? (
        <Notice kind="bad" title="The receiver does not accept entries">
          {last_error} {attempts} {attempts === 1 ? "attempt" : "attempts"}, the last{" "}
          <Time at={(last_error_at ?? 0) * 1000} />. It is tried again; nothing is lost.
        </Notice>
      ) : null}
      <KeyValue
        rows={[
          ["Destination", <span class="wrap-any">{destination}</span>],
          view.facility ? ["Facility", view.facility] : null,
          view.signing_secret_hint ? ["Signed with", <code>{view.signing_secret_hint}</code>] : null,
          ["Position", `entry ${formatInteger(position)} of ${formatInteger(newest)}`],
          ["Still to send", formatInteger(waiting)],
          ["Last sent", <Time at={last_sent_at === null ? null : last_sent_at * 1000} />],
        ]}
      />
      <div class="row">
        <ActionButton action={`${PATH}/${kind}/test`}>Send a test entry</ActionButton>
        <ConfirmForm
          id={`remove-${kind}`}
          action={`${PATH}/${kind}/remove`}
          label="Stop forwarding"
          buttonClass="button danger"
          title="Stop forwarding here?"
          lost="The position is forgotten. Entries stay in the audit log."
          verb="Stop forwarding"
        />
      </div>
    </>
  );
}

function Panel(props: { kind: Kind; title: string; about: string; of: ForwardingProps; children: ComponentChildren }) {
  const { kind, title, about, of, children } = props;
  const view = of[kind];
  const tested = of.tested?.kind === kind ? of.tested : null;
  return (
    <section class="panel" id={kind} aria-label={title}>
      <header>
        <h2>{title}</h2>
      </header>
      <div class="body stack">
        {tested ? (
          <Notice kind={tested.sent ? "ok" : "bad"} title={tested.sent ? "Sent" : "Not sent"} alert>
            {tested.error ?? "Look for the action audit.test at the receiver."}
          </Notice>
        ) : null}
        {of.problem?.kind === kind ? (
          <Notice kind="bad" alert>
            {of.problem.message}
          </Notice>
        ) : null}
        {view ? <State view={view} /> : <p class="small muted">{about}</p>}
        <PostForm class="form" action={`${PATH}/${kind}`}>
          {children}
          <div class="row">
            <button type="submit" class={view ? "button" : "button primary"}>
              {view ? "Change" : "Forward"}
            </button>
          </div>
        </PostForm>
      </div>
    </section>
  );
}

export function ForwardingPage(props: ForwardingProps) {
  const { form, facilities, secret } = props;
  return (
    <AdminLayout title="Forwarding" parent={{ label: "Audit log", href: "/admin/audit" }}>
      {secret ? (
        <OneTimeLink title="The secret that signs" link={secret}>
          Give it to the receiver. It is not shown again.
        </OneTimeLink>
      ) : null}
      <p class="small muted">
        Every entry of every team and of the installation is sent in order, at least once. Entries that cannot be sent
        wait, and <code>audit_retention_days</code> does not remove them before they are sent.
      </p>
      <Panel
        kind="syslog"
        title="Syslog"
        about="Sends each entry as a message of RFC 5424 with structured data and JSON. TCP and TLS confirm that it arrived; UDP does not."
        of={props}
      >
        <div class="fields">
          <TextField
            name="host"
            label="Host"
            required
            value={form.host}
            placeholder="logs.example.com"
            maxlength={253}
          />
          <TextField name="port" label="Port" required inputmode="numeric" value={form.port} placeholder="6514" />
          <Select name="transport" label="Transport" value={form.transport} options={TRANSPORTS} />
          <Select
            name="facility"
            label="Facility"
            value={form.facility}
            options={facilities.map((each) => [each, each] as const)}
          />
          <TextField
            name="enterprise_number"
            label="Enterprise number"
            inputmode="numeric"
            value={form.enterprise_number}
            hint="Of your organization at IANA, in the name of the structured data. 32473 is reserved for examples."
          />
          <From view={props.syslog} />
        </div>
        <Field
          id="field-ca"
          label="Certificate authority"
          hint="PEM. Needed for TLS with a private certificate authority."
          render={(ids) => (
            <textarea name="ca" rows={3} maxlength={100_000} {...ids}>
              {form.ca}
            </textarea>
          )}
        />
      </Panel>
      <Panel
        kind="webhook"
        title="Webhook"
        about="Sends up to 100 entries in one signed request, as other webhooks are signed."
        of={props}
      >
        <div class="fields">
          <TextField
            name="url"
            label="Address"
            type="url"
            required
            maxlength={2000}
            value={props.url ?? ""}
            placeholder={props.webhook?.destination ?? "https://siem.example.com/audit"}
          />
          <From view={props.webhook} />
        </div>
        {props.webhook ? (
          <label class="choice">
            <input type="checkbox" name="rotate_secret" value="yes" />
            Replace the secret
          </label>
        ) : null}
      </Panel>
    </AdminLayout>
  );
}
