/** Asks a person who is signed in for the password, a code or a passkey again, before something sensitive. */
import type { Actor } from "../../../src/ctx.ts";
import { BareLayout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { PasskeyForm } from "../../parts/passkey.tsx";

export function ConfirmPage(props: {
  /** Where the form goes. */
  action: string;
  /** Its hidden fields: what was posted, or where to go on. */
  fields: Record<string, string>;
  message: string;
  /** Who is asked, and where to go on after single sign-on. */
  actor: Pick<Actor, "signedInWith"> | null;
  next: string;
  /** They have a passkey that works here. */
  withPasskey: boolean;
}) {
  const provider = /^sso:(.+)$/.exec(props.actor?.signedInWith ?? "")?.[1];
  return (
    <BareLayout title="Confirm that it is you">
      <div class="stack loose">
        <h1>Confirm that it is you</h1>
        <Notice kind="info">{props.message} Your last confirmation was more than 15 minutes ago.</Notice>
        {props.withPasskey ? (
          <PasskeyForm
            purpose="prove"
            action={props.action}
            fields={props.fields}
            names={{ state: "reauthentication_state", credential: "reauthentication_passkey" }}
            label="Use a passkey"
          />
        ) : null}
        <form class="form" method="post" action={props.action}>
          {Object.entries(props.fields).map(([name, value]) => (
            <input type="hidden" name={name} value={value} />
          ))}
          <TextField
            name="reauthentication"
            label="Password or code"
            type="password"
            required
            autofocus
            maxlength={256}
            autocomplete="current-password"
            hint="Your password, or six digits of your authenticator app. The form that you sent is kept."
          />
          <button type="submit" class="button primary block">
            Continue
          </button>
        </form>
        {provider ? (
          <a
            class="button block"
            href={`/sso/${provider}/start?${new URLSearchParams({ prove: "1", next: props.next })}`}
          >
            Confirm with single sign-on
          </a>
        ) : null}
        <p class="muted small">
          <a href="/">Cancel and go to the home page</a>
        </p>
      </div>
    </BareLayout>
  );
}
