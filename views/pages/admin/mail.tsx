/** The mail server: its settings, and a test with the server's own words. */
import type { MailView } from "../../../src/notices/mail/settings.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { AdminLayout } from "./frame.tsx";

/** The settings as typed. */
export interface MailForm {
  host: string;
  port: string;
  security: string;
  user: string;
  from: string;
}

export interface MailProps {
  mail: MailView;
  form: MailForm;
  /** Where a test goes by default. */
  email: string;
  tested?: { accepted: boolean; to: string; answer: string };
  error?: string;
}

const SECURITY = [
  ["starttls", "STARTTLS (port 587)"],
  ["tls", "TLS (port 465)"],
  ["none", "None"],
] as const;

function Test({ mail, email, tested }: MailProps) {
  if (!mail.configured) return null;
  return (
    <section class="panel" id="test">
      <header>
        <h2>Test</h2>
      </header>
      <div class="body stack tight">
        {tested ? (
          <Notice
            kind={tested.accepted ? "ok" : "bad"}
            title={tested.accepted ? `Accepted for ${tested.to}` : `Not accepted for ${tested.to}`}
            alert
          >
            <code class="wrap-any">{tested.answer}</code>
          </Notice>
        ) : null}
        <PostForm action="/admin/mail/test" class="inline-form">
          <TextField name="to" label="Send to" type="email" required maxlength={254} value={tested?.to ?? email} />
          <button type="submit" class="button">
            Send test mail
          </button>
        </PostForm>
      </div>
    </section>
  );
}

export function MailPage(props: MailProps) {
  const { mail, form, error } = props;
  const fixed = mail.source === "configuration";
  return (
    <AdminLayout
      title="Mail"
      actions={
        mail.source === "page" ? (
          <ConfirmForm
            id="mail"
            action="/admin/mail/remove"
            label="Remove"
            buttonClass="button danger"
            title="Remove the mail server?"
            lost="Nothing is mailed any more. Notices appear in the page, and you copy links to reset passwords."
            verb="Remove the mail server"
          />
        ) : null
      }
    >
      {mail.configured ? null : (
        <Notice kind="info" title="There is no mail server">
          Everything works without one. Notices appear in the page, and you copy links to reset passwords.
        </Notice>
      )}
      <section class="panel">
        <header>
          <h2>Mail server</h2>
        </header>
        <PostForm class="body form" action="/admin/mail">
          {fixed ? (
            <Notice kind="info">
              It is set by the configuration (<code>mail_url</code>) and cannot be changed here.
            </Notice>
          ) : null}
          {error ? (
            <Notice kind="bad" alert>
              {error}
            </Notice>
          ) : null}
          <fieldset class="form" disabled={fixed}>
            <legend class="visually-hidden">Mail server</legend>
            <div class="fields">
              <TextField name="host" label="Server" required value={form.host} placeholder="mail.example.com" />
              <TextField name="port" label="Port" required inputmode="numeric" value={form.port} />
              <Field
                id="field-security"
                label="Encryption"
                render={(ids) => (
                  <select name="security" {...ids}>
                    {SECURITY.map(([value, label]) => (
                      <option value={value} selected={form.security === value}>
                        {label}
                      </option>
                    ))}
                  </select>
                )}
              />
              <TextField
                name="from"
                label="Sender"
                required
                value={form.from}
                placeholder="Fine-Tune Lab <lab@example.com>"
              />
              <TextField name="user" label="User" value={form.user} autocomplete="off" hint="Empty: no sign-in" />
              <TextField
                name="password"
                label="Password"
                type="password"
                autocomplete="new-password"
                hint={mail.password_set ? "Empty: as it is. It is stored encrypted." : "It is stored encrypted."}
              />
            </div>
            <div class="row">
              <button type="submit" class="button primary">
                Save
              </button>
            </div>
          </fieldset>
        </PostForm>
      </section>
      <Test {...props} />
    </AdminLayout>
  );
}
