/** Suspending a user or a team and lifting it: the panel on their pages. */
import type { Hold } from "../../../src/ctx.ts";
import { formatDate } from "../../../src/lib/text/format.ts";
import { ActionButton, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";

/** What it stops, by who is suspended. */
const EFFECTS = {
  user: "They are signed out, their API keys are refused, and jobs and endpoints that they created stop: training saves a checkpoint first.",
  organization:
    "Its members are signed out, its API keys are refused, and all its jobs and endpoints stop: training saves a checkpoint first.",
};

const TITLES: Record<Hold["kind"], string> = {
  suspended: "Suspended",
  deactivated: "Deactivated by the identity provider",
  unpaid: "Suspended for an unpaid invoice",
  deletion: "Scheduled for deletion",
};

/** How a hold without an end ends. */
const UNTIL: Record<Hold["kind"], string> = {
  suspended: "Until it is lifted.",
  deactivated: "Until it is activated there again, or lifted here.",
  unpaid: "Until it is paid, or lifted here.",
  deletion: "Until it is canceled.",
};

/** Says above the page that somebody is suspended, why, and until when. */
export function HoldNotice({ holds }: { holds: readonly Hold[] }) {
  return (
    <>
      {holds.map(({ kind, reason, until }) => (
        <Notice kind="warn" title={TITLES[kind]}>
          <p class="wrap-any">
            {until === null
              ? UNTIL[kind]
              : `${kind === "deletion" ? "Everything is erased" : "Ends"} on ${formatDate(until)}.`}
            {reason ? ` Reason: ${reason}` : ""}
          </p>
        </Notice>
      ))}
    </>
  );
}

interface HoldProps {
  /** Address of the page of the user or team. */
  path: string;
  subject: Hold["subject"];
  name: string;
  holds: readonly Hold[];
}

/** Suspension and deletion of a user or team. */
export function HoldPanels(props: HoldProps) {
  return (
    <>
      <SuspensionPanel {...props} />
      <DeletionPanel {...props} />
    </>
  );
}

const ERASES = {
  user: "After the grace period everything personal is erased; what they created in the team is handed over to an owner.",
  organization: "After the grace period its data, models and jobs are erased, and accounts that are in no other team.",
};

function DeletionPanel({ path, subject, name, holds }: HoldProps) {
  const scheduled = holds.some(({ kind }) => kind === "deletion");
  return (
    <section class="panel">
      <header>
        <h2>Deletion</h2>
        {scheduled ? (
          <ActionButton action={`${path}/deletion/cancel`} class="small">
            Cancel the deletion
          </ActionButton>
        ) : (
          <SheetForm
            id="deletion"
            action={`${path}/deletion`}
            label="Delete…"
            buttonClass="button small danger"
            title={`Delete ${name}?`}
            verb="Schedule the deletion"
          >
            <p class="muted small">
              {ERASES[subject]} No new work starts until then, data can be exported, and you can cancel it.
            </p>
            <Field
              id="field-deletion-reason"
              label="Reason"
              hint="The people it affects can read it."
              render={(ids) => <textarea name="reason" rows={3} maxLength={500} required {...ids} />}
            />
          </SheetForm>
        )}
      </header>
      <p class="body muted small">
        {ERASES[subject]} <a href="/admin/deletions">Deletions</a> has the reports.
      </p>
    </section>
  );
}

/** Suspends, or lifts what is in force. */
export function SuspensionPanel(props: HoldProps) {
  const { path, subject, name, holds } = props;
  const suspended = holds.some(({ kind }) => kind !== "deletion");
  return (
    <section class="panel">
      <header>
        <h2>Suspension</h2>
        {suspended ? (
          <ActionButton action={`${path}/lift`} class="small">
            {holds.some(({ kind }) => kind === "deactivated") && !holds.some(({ kind }) => kind === "suspended")
              ? "Lift the deactivation"
              : "Lift the suspension"}
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
              hint="The people it affects can read it."
              render={(ids) => <textarea name="reason" rows={3} maxLength={500} required {...ids} />}
            />
            <TextField name="until" label="Ends on (UTC)" type="date" hint="Empty: until somebody lifts it." />
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
