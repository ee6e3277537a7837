/** Suspending a user or a team and lifting it: the panel on their pages. */
import type { Hold } from "../../../src/ctx.ts";
import { ActionButton, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Time } from "../../parts/value.tsx";

/** What it stops, by who is suspended. */
const EFFECTS = {
  user: "They are signed out, their API keys are refused, and jobs and endpoints that they created stop: training saves a checkpoint first.",
  organization:
    "Its members are signed out, its API keys are refused, and all its jobs and endpoints stop: training saves a checkpoint first.",
};

/** Says above the page that somebody is suspended, why, and until when. */
export function HoldNotice({ holds }: { holds: readonly Hold[] }) {
  return (
    <>
      {holds.map(({ kind, reason, until }) => (
        <Notice kind="warn" title={kind === "suspended" ? "Suspended" : "Scheduled for deletion"}>
          {reason ? <span class="wrap-any">Reason: {reason} </span> : null}
          {until === null ? (
            "Until it is lifted."
          ) : (
            <>
              {kind === "suspended" ? "Ends" : "Everything is erased"} <Time at={until} />.
            </>
          )}
        </Notice>
      ))}
    </>
  );
}

export function SuspensionPanel(props: {
  /** Address of the page of the user or team. */
  path: string;
  subject: Hold["subject"];
  name: string;
  holds: readonly Hold[];
}) {
  const { path, subject, name, holds } = props;
  const suspended = holds.some(({ kind }) => kind === "suspended");
  return (
    <section class="panel">
      <header>
        <h2>Suspension</h2>
        {suspended ? (
          <ActionButton action={`${path}/lift`} class="small">
            Lift the suspension
          </ActionButton>
        ) : (
          <SheetForm
            id="suspend"
            action={`${path}/suspend`}
            label="Suspend…"
            buttonClass="button small danger"
            title={`Suspend ${name}?`}
            verb="Suspend"
          >
            <p class="muted small">{EFFECTS[subject]} Nothing is deleted.</p>
            <Field
              id="field-reason"
              label="Reason"
              hint="The people concerned read it."
              render={(ids) => <textarea name="reason" rows={3} maxLength={500} required {...ids} />}
            />
            <TextField name="until" label="Ends by itself on" type="date" hint="Empty: until somebody lifts it." />
          </SheetForm>
        )}
      </header>
      <p class="body muted small">
        {suspended
          ? "When it is lifted, keys work again, and jobs and endpoints that it stopped resume. Everybody signs in again."
          : `${EFFECTS[subject]} Nothing is deleted, and lifting it resumes the work.`}
      </p>
    </section>
  );
}
