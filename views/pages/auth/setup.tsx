/** Forms behind one-time links: the first administrator, people who were invited, and a forgotten password. */
import { BareLayout } from "../../layout.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { AcceptFields } from "../terms/accept-fields.tsx";

interface AccountProps {
  /** From the link; sent back with the form. */
  token: string;
  error?: string | null;
  email?: string;
  name?: string;
  /** Fewest characters of a password. */
  passwordMin: number;
}

const passwordHint = (min: number) => `At least ${min} characters. Several words are better than one.`;

function AccountFields(props: AccountProps & { emailFixed?: boolean }) {
  return (
    <>
      <input type="hidden" name="token" value={props.token} />
      <TextField
        name="name"
        label="Your name"
        required
        maxlength={200}
        autocomplete="name"
        autofocus={!props.error}
        value={props.name ?? ""}
      />
      <TextField
        name="email"
        label="E-mail"
        type="email"
        required
        maxlength={254}
        autocomplete="username"
        readonly={props.emailFixed}
        value={props.email ?? ""}
      />
      <TextField
        name="password"
        label="Password"
        type="password"
        required
        autofocus={Boolean(props.error)}
        minlength={props.passwordMin}
        maxlength={256}
        autocomplete="new-password"
        hint={passwordHint(props.passwordMin)}
      />
    </>
  );
}

/** `/setup?token=…` */
export function SetupPage(props: AccountProps) {
  return (
    <BareLayout title="Set up">
      <div class="stack loose">
        <div class="stack tight">
          <h1>Create the first administrator</h1>
          <p class="muted">This installation has no accounts yet. The link you opened works once.</p>
        </div>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <form class="form" method="post" action="/setup">
          <AccountFields {...props} />
          <button type="submit" class="button primary block">
            Create account and sign in
          </button>
        </form>
      </div>
    </BareLayout>
  );
}

/** `/setup` without a valid token: where to find one. */
export function SetupClosedPage({ done }: { done: boolean }) {
  return (
    <BareLayout title="Set up">
      <div class="stack">
        <h1>{done ? "This installation is already set up" : "The setup link is missing or wrong"}</h1>
        <p class="muted">
          {done
            ? "Sign in with your account; an administrator can invite you."
            : "The server prints the link on its terminal when it starts. Open that link."}
        </p>
        <a class="button primary" href="/login">
          Go to sign in
        </a>
      </div>
    </BareLayout>
  );
}

/** `/invite?token=…`: the e-mail address is fixed. Without a token (open sign-up) it can be chosen. */
export function InvitePage(
  props: AccountProps & {
    organization: string | null;
    /** What a new account has to accept; without any nothing is asked. */
    documents: { label: string; href: string }[];
  },
) {
  return (
    <BareLayout title="Join">
      <div class="stack loose">
        <div class="stack tight">
          <h1>{props.organization ? `Join ${props.organization}` : "Create an account"}</h1>
          <p class="muted">Choose a name and a password.</p>
        </div>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <form class="form" method="post" action="/invite">
          <AccountFields {...props} emailFixed={Boolean(props.organization && props.email)} />
          <AcceptFields documents={props.documents} adultNeeded={props.documents.length > 0} />
          <button type="submit" class="button primary block">
            Create account and sign in
          </button>
        </form>
      </div>
    </BareLayout>
  );
}

/** `/reset?token=…`: sets a new password for one account. */
export function ResetPage(props: Pick<AccountProps, "token" | "error" | "passwordMin"> & { email: string }) {
  return (
    <BareLayout title="Reset password">
      <div class="stack loose">
        <div class="stack tight">
          <h1>Choose a new password</h1>
          <p class="muted">For {props.email}. All your browser sessions end; API keys stay valid.</p>
        </div>
        {props.error ? (
          <Notice kind="bad" alert>
            {props.error}
          </Notice>
        ) : null}
        <form class="form" method="post" action="/reset">
          <input type="hidden" name="token" value={props.token} />
          <TextField name="email" label="E-mail" type="email" readonly autocomplete="username" value={props.email} />
          <TextField
            name="password"
            label="New password"
            type="password"
            required
            autofocus
            minlength={props.passwordMin}
            maxlength={256}
            autocomplete="new-password"
            hint={passwordHint(props.passwordMin)}
          />
          <button type="submit" class="button primary block">
            Set password and sign in
          </button>
        </form>
      </div>
    </BareLayout>
  );
}
