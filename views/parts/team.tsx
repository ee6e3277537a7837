/** What is the same on a team's own page and on its page in Administration. */

import { plural } from "../../src/lib/text/format.ts";
import type { InvitationMail } from "../../src/notices/security/invitation-mail.ts";
import { PostForm } from "./allowed.tsx";
import { ActionButton, ConfirmForm } from "./form.tsx";
import { Time } from "./value.tsx";

/** Whether a team requires two-factor authentication. */
export function TeamSignIn(props: { action: string; required: boolean; graceDays: number; requiredByAll: boolean }) {
  const { action, required, graceDays, requiredByAll } = props;
  return (
    <section class="panel">
      <header>
        <h2>Sign-in</h2>
      </header>
      <PostForm action={action} class="body form">
        <label class="check">
          <input type="checkbox" name="required" value="yes" checked={required} />
          <span>Members need two-factor authentication</span>
        </label>
        <p class="small muted">
          {requiredByAll ? "The settings of the server require it of everybody. " : ""}
          Members have {plural(graceDays, "day")} to set it up. Their API keys keep working.
        </p>
        <div class="row">
          <button type="submit" class="button">
            Save sign-in
          </button>
        </div>
      </PostForm>
    </section>
  );
}

/** How an invitation reaches the person: by mail where there is a mail server, else with a link to pass on. */
export function SendInvitation({ canMail }: { canMail: boolean }) {
  if (!canMail)
    return (
      <p class="muted small">You get a link to send yourself. It works once, for this address only, within 7 days.</p>
    );
  return (
    <label class="check">
      <input type="checkbox" name="send" value="yes" checked />
      <span>
        Send by mail{" "}
        <span class="muted small">
          Otherwise you get a link to send yourself. It works once, for this address only, within 7 days.
        </span>
      </span>
    </label>
  );
}

/** What became of the mail of an invitation; nothing without one. */
export function MailState({ mail }: { mail: InvitationMail | undefined }) {
  if (!mail) return null;
  if (mail.state === "sent")
    return (
      <span class="sub">
        Mailed <Time at={mail.at} />
      </span>
    );
  return (
    <span class="sub" title={mail.error ?? undefined}>
      {mail.state === "waiting" ? "Mail is waiting to be sent" : "The mail server refuses the mail"}
    </span>
  );
}

/** What can be done with a pending invitation. @param props.path address of the invitations */
export function InvitationActions(props: {
  path: string;
  id: string;
  email: string;
  canMail: boolean;
  mail: InvitationMail | undefined;
}) {
  const { path, id, email, canMail, mail } = props;
  return (
    <div class="row end">
      {canMail ? (
        <ActionButton action={`${path}/${id}/send`} class="small">
          {mail ? "Send again" : "Send by mail"}
        </ActionButton>
      ) : null}
      <ActionButton action={`${path}/${id}/renew`} class="small">
        New link
      </ActionButton>
      <ConfirmForm
        id={id}
        action={`${path}/${id}/revoke`}
        label="Revoke"
        buttonClass="button danger small"
        title={`Revoke the invitation of ${email}?`}
        lost="Its link stops working at once. You can invite the address again."
        verb="Revoke the invitation"
      />
    </div>
  );
}
