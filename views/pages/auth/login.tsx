/** The sign-in page, and the page of its second step. */
import { usePage } from "../../context.ts";
import { BareLayout } from "../../layout.tsx";
import { ContactLink } from "../../parts/contact.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { PasskeyForm } from "../../parts/passkey.tsx";

function Ended() {
  return (
    <Notice kind="info" title="Your session has ended">
      It expired or was ended elsewhere. Sign in to continue where you were. A form you just sent was not saved; what
      you typed is there again.
    </Notice>
  );
}

/** A provider of single sign-on. */
interface LoginProvider {
  id: string;
  name: string;
}

const startOf = (provider: LoginProvider, next: string, email = "") =>
  `/sso/${provider.id}/start?${new URLSearchParams({ next, ...(email ? { email } : {}) })}`;

function Providers({ providers, next }: { providers: LoginProvider[]; next: string }) {
  return providers.length === 0 ? null : (
    <div class="stack tight">
      {providers.map((provider) => (
        <a class="button block" href={startOf(provider, next)}>
          Continue with {provider.name}
        </a>
      ))}
    </div>
  );
}

/** On the way to a provider; the browser goes on by itself. */
export function LeavePage(props: { provider: LoginProvider; next: string; email: string }) {
  return (
    <BareLayout title={`Continue with ${props.provider.name}`}>
      <div class="stack loose">
        <h1>Continue with {props.provider.name}</h1>
        <p class="muted">{props.email} signs in there.</p>
        <a class="button primary block" href={startOf(props.provider, props.next, props.email)}>
          Continue
        </a>
      </div>
    </BareLayout>
  );
}

/** Where `LeavePage` goes on to. */
export const leaveTo = startOf;

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
  /** Providers of single sign-on. With any, the page asks for the address first. */
  providers?: LoginProvider[];
  /** Asks for the password at once. */
  withPassword?: boolean;
  /** Passkeys work at this address. */
  passkeys: boolean;
  /** The provider of a session that was just ended. */
  left?: LoginProvider | null;
}) {
  const { contact } = usePage();
  const providers = props.providers ?? [];
  const asksPassword = providers.length === 0 || props.withPassword;
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
        {props.left ? (
          <Notice kind="info" title="You are signed out here">
            You may still be signed in at {props.left.name}.{" "}
            <a href={`/sso/${props.left.id}/logout`}>Sign out of {props.left.name} too</a>
          </Notice>
        ) : null}
        <Providers providers={providers} next={props.next} />
        <form class="form" method="post" action="/login">
          <input type="hidden" name="next" value={props.next} />
          <TextField
            name="email"
            label="E-mail"
            type="email"
            required
            autocomplete={props.passkeys ? "username webauthn" : "username"}
            autofocus={!props.email}
            value={props.email ?? ""}
          />
          {asksPassword ? (
            <TextField
              name="password"
              label="Password"
              type="password"
              required
              autocomplete="current-password"
              autofocus={Boolean(props.email)}
            />
          ) : null}
          <button type="submit" class="button primary block">
            {asksPassword ? "Sign in" : "Continue with e-mail"}
          </button>
        </form>
        {props.passkeys ? (
          <PasskeyForm
            purpose="sign_in"
            action="/login/passkey"
            fields={{ next: props.next }}
            label="Sign in with a passkey"
            autofill
          />
        ) : null}
        <p class="muted small">
          {props.openSignUp ? (
            <>
              No account yet? <a href="/invite">Create one</a>.
            </>
          ) : (
            "No account yet? Ask an administrator of this installation for a link."
          )}{" "}
          {contact ? (
            <>
              Questions: <ContactLink contact={contact} />.{" "}
            </>
          ) : null}
          <a href="/forgot">Forgot your password?</a>
          {asksPassword ? null : (
            <>
              {" "}
              <a href={`/login?${new URLSearchParams({ next: props.next, password: "1" })}`}>Sign in with a password</a>
            </>
          )}
        </p>
      </div>
    </BareLayout>
  );
}

/** The second step of signing in. */
export function CodePage(props: {
  next: string;
  email: string;
  /** They have an authenticator app; without one, only recovery codes can be typed. */
  app: boolean;
  /** They have a passkey that works here. */
  passkey: boolean;
  error?: string | null;
}) {
  const { app } = props;
  return (
    <BareLayout title="Two-factor authentication">
      <div class="stack loose">
        <div class="stack tight">
          <h1>{app ? "Enter your code" : "Use your second factor"}</h1>
          <p class="muted">Signing in as {props.email}.</p>
        </div>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        {props.passkey ? (
          <PasskeyForm
            purpose="second_step"
            action="/login/code"
            fields={{ next: props.next }}
            label="Use a passkey"
            buttonClass={app ? "button block" : "button primary block"}
          />
        ) : null}
        <form class="form" method="post" action="/login/code">
          <input type="hidden" name="next" value={props.next} />
          <TextField
            name="code"
            label={app ? "Code" : "Recovery code"}
            required
            autofocus={app}
            autocomplete="one-time-code"
            maxlength={40}
            hint={
              app
                ? "Six digits from your authenticator app, or one of your recovery codes."
                : "Instead of the passkey: one of your recovery codes. Each works once."
            }
          />
          <button type="submit" class={app ? "button primary block" : "button block"}>
            {app ? "Sign in" : "Sign in with the recovery code"}
          </button>
        </form>
        <p class="muted small">
          Lost {app ? "the app" : "the passkey"} and the recovery codes? An administrator can reset your second factor.{" "}
          <a href="/login">Sign in as somebody else</a>
        </p>
      </div>
    </BareLayout>
  );
}
