/** Two-factor authentication of one's own account: the authenticator app, passkeys, and recovery codes. */
import type { Enrollment, TwoFactorState } from "../../../src/accounts/factors/two-factor.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { QrCode } from "../../parts/qr.tsx";
import { CopyId, Snippet } from "../../parts/value.tsx";
import { SettingsLayout } from "./frame.tsx";
import { PasskeysPanel, type PasskeysProps } from "./passkeys.tsx";

export interface TwoFactorProps extends PasskeysProps {
  state: TwoFactorState;
  /** An app that is being set up. */
  enrollment?: Enrollment;
  /** New recovery codes, shown only once. */
  codes?: string[];
  error?: { form: "start" | "confirm" | "codes" | "disable" | "passkeys"; message: string };
}

function Problem({ error, form }: Pick<TwoFactorProps, "error"> & { form: string }) {
  return error?.form === form ? (
    <Notice kind="bad" alert>
      {error.message}
    </Notice>
  ) : null;
}

const password = (id: string, { hasPassword }: TwoFactorState) =>
  hasPassword ? (
    <div class="field">
      <label for={id}>Your password</label>
      <input id={id} name="password" type="password" required maxlength={1000} autocomplete="current-password" />
    </div>
  ) : null;

function Codes({ codes }: { codes: string[] }) {
  return (
    <Notice kind="ok" title="Your recovery codes" alert>
      <span>
        Each code replaces the app or the passkey once. Keep them where you keep your passwords. They are not shown
        again, and older codes no longer work.
      </span>
      <Snippet label="Recovery codes" text={codes.join("\n")} />
    </Notice>
  );
}

function Start({ error, state }: TwoFactorProps) {
  return (
    <section class="panel">
      <header>
        <h2>Set up an authenticator app</h2>
      </header>
      <PostForm class="body form" action="/settings/two-factor">
        <Problem error={error} form="start" />
        <p class="small muted">
          Signing in with your password then asks for a code of an app on your phone as well, such as Google
          Authenticator, Aegis or a password manager. API keys keep working.
        </p>
        {password("start-password", state)}
        <div class="row">
          <button type="submit" class="button primary">
            Continue
          </button>
        </div>
      </PostForm>
    </section>
  );
}

function Confirm({ enrollment, error }: { enrollment: Enrollment } & Pick<TwoFactorProps, "error">) {
  return (
    <section class="panel">
      <header>
        <h2>Scan the code with your app</h2>
      </header>
      <PostForm class="body form" action="/settings/two-factor/confirm">
        <Problem error={error} form="confirm" />
        <input type="hidden" name="uri" value={enrollment.uri} />
        <QrCode text={enrollment.uri} label="QR code for the authenticator app" />
        <p class="small">
          Cannot scan? Type this key into the app: <CopyId id={enrollment.secret} full />
        </p>
        <TextField
          name="code"
          label="Code of the app"
          required
          autofocus
          inputmode="numeric"
          autocomplete="one-time-code"
          maxlength={10}
          hint="Six digits. Your other sessions are ended."
        />
        <div class="row">
          <button type="submit" class="button primary">
            Switch on
          </button>
        </div>
      </PostForm>
    </section>
  );
}

function App({ state, error }: TwoFactorProps) {
  return (
    <section class="panel">
      <header>
        <h2>Authenticator app</h2>
        <ConfirmForm
          id="off"
          action="/settings/two-factor/disable"
          label="Remove"
          buttonClass="button danger small"
          title="Remove the authenticator app?"
          lost={
            state.passkeys > 0
              ? "Codes of the app no longer count. Your passkeys and recovery codes stay. Your other sessions are ended."
              : "Two-factor authentication is then off: the password alone is enough to sign in, and the recovery codes no longer count. Your other sessions are ended."
          }
          verb="Remove the app"
          password={state.hasPassword}
        />
      </header>
      <div class="body stack">
        <Problem error={error} form="disable" />
        <p class="small">Set up. Signing in with your password asks for one of its codes.</p>
      </div>
    </section>
  );
}

function RecoveryCodes({ state, error }: TwoFactorProps) {
  const { recoveryCodesLeft: left } = state;
  return (
    <section class="panel">
      <header>
        <h2>Recovery codes</h2>
      </header>
      <div class="body stack">
        <Problem error={error} form="codes" />
        {left <= 3 ? (
          <Notice kind="info" title={`${plural(left, "recovery code")} left`}>
            Create new ones before you run out.
          </Notice>
        ) : null}
        <PostForm class="form" action="/settings/two-factor/codes">
          <p class="small">{plural(left, "recovery code")} left. New codes replace the old ones at once.</p>
          {password("codes-password", state)}
          <div class="row">
            <button type="submit" class="button">
              Create new recovery codes
            </button>
          </div>
        </PostForm>
      </div>
    </section>
  );
}

export function TwoFactorPage(props: TwoFactorProps) {
  const { state, enrollment, codes, error } = props;
  return (
    <SettingsLayout title="Two-factor authentication">
      <div class="stack loose narrow-column">
        {codes ? <Codes codes={codes} /> : null}
        {state.enabled ? null : (
          <p class="small muted">
            Two-factor authentication is off: your password alone is enough to sign in. Set up an app or a passkey.
          </p>
        )}
        {state.app ? (
          <App {...props} />
        ) : enrollment ? (
          <Confirm enrollment={enrollment} error={error} />
        ) : (
          <Start {...props} />
        )}
        <Problem error={error} form="passkeys" />
        <PasskeysPanel passkeys={props.passkeys} unavailable={props.unavailable} />
        {state.enabled ? <RecoveryCodes {...props} /> : null}
      </div>
    </SettingsLayout>
  );
}
