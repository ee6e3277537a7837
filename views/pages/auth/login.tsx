/** The sign-in page, and the page of its second step. */
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
            autofocus={Boolean(props.email)}
          />
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
            "No account yet? Ask an administrator of this installation for a link."
          )}{" "}
          <a href="/forgot">Forgot your password?</a>
        </p>
      </div>
    </BareLayout>
  );
}

/** The second step of signing in. */
export function CodePage(props: { next: string; email: string; error?: string | null }) {
  return (
    <BareLayout title="Two-factor authentication">
      <div class="stack loose">
        <div class="stack tight">
          <h1>Enter your code</h1>
          <p class="muted">Signing in as {props.email}.</p>
        </div>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <form class="form" method="post" action="/login/code">
          <input type="hidden" name="next" value={props.next} />
          <TextField
            name="code"
            label="Code"
            required
            autofocus
            autocomplete="one-time-code"
            maxlength={40}
            hint="Six digits from your authenticator app, or one of your recovery codes."
          />
          <button type="submit" class="button primary block">
            Sign in
          </button>
        </form>
        <p class="muted small">
          Lost the app and the recovery codes? An administrator can reset your second factor.{" "}
          <a href="/login">Sign in as somebody else</a>
        </p>
      </div>
    </BareLayout>
  );
}
