/** What is the same on a team's own page and on its page in Administration. */
import { plural } from "../../src/lib/text/format.ts";
import { PostForm } from "./allowed.tsx";
import { ActionButton, ConfirmForm } from "./form.tsx";

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

/** What can be done with a pending invitation. @param props.path address of the invitations */
export function InvitationActions({ path, id, email }: { path: string; id: string; email: string }) {
  return (
    <div class="row end">
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
