/** The sign-in page. */
import { BareLayout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

function Ended() {
  return (
    <Notice kind="info" title="Your session has ended">
      It expired or was ended elsewhere. Sign in to continue where you were. A form you just sent was not saved; what
      you typed is there again.
    </Notice>
  );
}

export function LoginPage(props: {
  /** Path to open afterwards. */
  next: string;
  error?: string | null;
  email?: string;
  /** Also asks for the six digits of the second factor. */
  twoFactor?: boolean;
  /** Anybody may create an account. */
  openSignUp?: boolean;
  /** A session existed and has ended. */
  ended?: boolean;
  /** Somebody just signed up. */
  created?: boolean;
}) {
  return (
    <BareLayout title="Sign in">
      <div class="stack loose">
        <h1>Sign in</h1>
        {props.error || props.ended ? null : (
          <div data-ended hidden>
            <Ended />
          </div>
        )}
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : props.ended ? (
          <Ended />
        ) : props.created ? (
          <Notice kind="ok" title="Sign in with your new account">
            If there was an account for this address before, it is unchanged: use its own password.
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
              No account yet? <a href="/invite">Create one</a>.
            </>
          ) : (
            "No account yet, or forgot your password? Ask an administrator of this installation for a link."
          )}
        </p>
      </div>
    </BareLayout>
  );
}
