/** Two-factor authentication of one's own account: set up an app, recovery codes, switch it off. */
import type { Enrollment, TwoFactorState } from "../../../src/accounts/auth/two-factor.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { QrCode } from "../../parts/qr.tsx";
import { CopyId, Snippet } from "../../parts/value.tsx";
import { SettingsLayout } from "./frame.tsx";

export interface TwoFactorProps {
  state: TwoFactorState;
  /** An app that is being set up. */
  enrollment?: Enrollment;
  /** New recovery codes, shown only once. */
  codes?: string[];
  error?: { form: "start" | "confirm" | "codes" | "disable"; message: string };
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
        Each code replaces the app once. Keep them where you keep your passwords. They are not shown again, and older
        codes no longer work.
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
          Signing in then asks for a code of an app on your phone as well, such as Google Authenticator, Aegis or a
          password manager. API keys keep working.
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

function Manage({ state, error }: TwoFactorProps) {
  const { recoveryCodesLeft: left } = state;
  return (
    <section class="panel">
      <header>
        <h2>Two-factor authentication is on</h2>
      </header>
      <div class="body stack">
        <Problem error={error} form="disable" />
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
        <hr />
        <div class="row between">
          <span class="small">Without a second factor, the password alone is enough to sign in.</span>
          <ConfirmForm
            id="off"
            action="/settings/two-factor/disable"
            label="Switch off"
            buttonClass="button danger"
            title="Switch two-factor authentication off?"
            lost="The app and the recovery codes no longer count. Your other sessions are ended."
            verb="Switch off"
            password={state.hasPassword}
          />
        </div>
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
        {state.enabled ? (
          <Manage {...props} />
        ) : enrollment ? (
          <Confirm enrollment={enrollment} error={error} />
        ) : (
          <Start {...props} />
        )}
      </div>
    </SettingsLayout>
  );
}
