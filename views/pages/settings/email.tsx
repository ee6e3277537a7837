/** `/settings/email`: a new e-mail address for the account. */

import { PostForm } from "../../parts/allowed.tsx";
import { TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { SettingsLayout } from "./frame.tsx";

export interface EmailProps {
  current: string;
  canMail: boolean;
  email?: string;
  /** A mail is on its way to `email`. */
  sent?: boolean;
  error?: string;
}

export function EmailPage({ current, canMail, email, sent, error }: EmailProps) {
  return (
    <SettingsLayout title="E-mail address">
      {canMail ? null : (
        <Notice kind="info" title="This installation has no mail server">
          A new address is confirmed with a link in a mail. An administrator can set a mail server.
        </Notice>
      )}
      {sent ? (
        <Notice kind="ok" title={`Look into the mailbox of ${email}`} alert>
          The link in the mail changes your address. It works once within a day. Until then you sign in with {current}.
        </Notice>
      ) : null}
      {canMail && !sent ? (
        <section class="panel">
          <PostForm class="body form" action="/settings/email">
            {error ? (
              <Notice kind="bad" alert>
                {error}
              </Notice>
            ) : null}
            <p class="small muted wrap-any">Your address now: {current}</p>
            <TextField
              name="email"
              label="New e-mail address"
              type="email"
              required
              maxlength={254}
              autocomplete="email"
              value={email ?? ""}
            />
            <TextField
              name="password"
              label="Current password"
              type="password"
              required
              autocomplete="current-password"
            />
            <div class="row">
              <button type="submit" class="button primary">
                Mail a link to the new address
              </button>
            </div>
          </PostForm>
        </section>
      ) : null}
    </SettingsLayout>
  );
}
