/** The sign-in page. */
import { BareLayout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

export function LoginPage(props: {
  /** Path to go to afterwards. */
  next: string;
  error?: string | null;
  email?: string;
  /** Asks for the six digits of the second factor as well. */
  twoFactor?: boolean;
  /** Anybody may make an account. */
  openSignUp?: boolean;
  /** Was signed in, and is no more. */
  ended?: boolean;
}) {
  return (
    <BareLayout title="Sign in">
      <div class="stack loose">
        <h1>Sign in</h1>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : props.ended ? (
          <Notice kind="info" title="Your sign-in has ended">
            It expired, or was ended elsewhere. Sign in to go on where you were; a form you had just sent was not saved.
          </Notice>
        ) : null}
        <form class="form" method="post" action="/login">
          <input type="hidden" name="next" value={props.next} />
          <TextField
            name="email"
            label="E-mail"
            type="email"
            required
            autocomplete="username"
            autofocus={!props.email}
            value={props.email ?? ""}
          />
          <TextField
            name="password"
            label="Password"
            type="password"
            required
            autocomplete="current-password"
            autofocus={Boolean(props.email) && !props.twoFactor}
          />
          {props.twoFactor ? (
            <TextField
              name="code"
              label="Code from your authenticator"
              inputmode="numeric"
              autocomplete="one-time-code"
              pattern="[0-9]{6}"
              required
              autofocus
            />
          ) : null}
          <button type="submit" class="button primary block">
            Sign in
          </button>
        </form>
        <p class="muted small">
          {props.openSignUp ? (
            <>
              No account yet? <a href="/invite">Make one</a>.
            </>
          ) : (
            "No account yet, or the password forgotten? An administrator of this installation can send you a link."
          )}
        </p>
      </div>
    </BareLayout>
  );
}
