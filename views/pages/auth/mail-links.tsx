/** Pages around links in mails: asking for one to reset a password, and confirming a new e-mail address. */
import { BareLayout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

/** `/forgot`. `sent`: the address that was entered. */
export function ForgotPage(props: { canMail: boolean; email?: string; sent?: boolean; error?: string }) {
  return (
    <BareLayout title="Reset your password">
      <div class="stack loose">
        <h1>Reset your password</h1>
        {props.canMail ? null : (
          <Notice kind="info" title="This installation has no mail server">
            Ask an administrator for a link to reset your password.
          </Notice>
        )}
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        {props.sent ? (
          <Notice kind="ok" title="Look into your mailbox" alert>
            If there is an account for {props.email}, a mail with a link is on its way. The link works once within a
            day.
          </Notice>
        ) : props.canMail ? (
          <form class="form" method="post" action="/forgot">
            <TextField
              name="email"
              label="E-mail"
              type="email"
              required
              autofocus
              autocomplete="username"
              value={props.email ?? ""}
            />
            <button type="submit" class="button primary block">
              Mail me a link
            </button>
          </form>
        ) : null}
        <p class="muted small">
          <a href="/login">Back to sign-in</a>
        </p>
      </div>
    </BareLayout>
  );
}

/** `/confirm-email?token=…`. Opening it changes nothing: mail programs open links by themselves. */
export function ConfirmEmailPage(props: { token: string; email: string; previous: string }) {
  return (
    <BareLayout title="Confirm your new e-mail address">
      <div class="stack loose">
        <h1>Confirm your new e-mail address</h1>
        <p>
          The account <strong class="wrap-any">{props.previous}</strong> gets the address{" "}
          <strong class="wrap-any">{props.email}</strong>. You sign in with it from now on.
        </p>
        <form method="post" action="/confirm-email">
          <input type="hidden" name="token" value={props.token} />
          <button type="submit" class="button primary block">
            Confirm the new address
          </button>
        </form>
      </div>
    </BareLayout>
  );
}
