/** An overdue invoice of a team on its page for administrators, and the time that it was given to pay. */
import type { MoreTime } from "../../../src/billing/late/more-time.ts";
import type { LateTeam } from "../../../src/billing/late/state.ts";
import { formatDate } from "../../../src/lib/text/format.ts";
import { ActionButton, SheetForm, TextField } from "../../parts/form.tsx";

export interface OverdueProps {
  path: string;
  /** Null without an overdue invoice. */
  late: LateTeam | null;
  moreTime: MoreTime | null;
}

export function OverduePanel({ path, late, moreTime }: OverdueProps) {
  if (!late && !moreTime) return null;
  return (
    <section class="panel" aria-labelledby="overdue">
      <header>
        <h2 id="overdue">{late ? late.title : "More time to pay"}</h2>
        {moreTime ? (
          <ActionButton action={`${path}/more-time/end`} class="small">
            End it now
          </ActionButton>
        ) : null}
        <SheetForm
          id="more-time"
          action={`${path}/more-time`}
          label={moreTime ? "Change" : "Give more time"}
          buttonClass="button small"
          title="Give the team more time to pay"
          verb="Give more time"
        >
          <p class="small muted">
            Until then no step beyond the notice follows, and what was stopped for the invoice resumes. Late fee and
            interest are charged all the same.
          </p>
          <TextField
            name="until"
            label="Until"
            type="date"
            required
            hint="On this day, 00:00 UTC, the next step follows."
          />
          <TextField name="reason" label="Reason" required maxlength={500} hint="The team reads it." />
        </SheetForm>
      </header>
      <div class="body">
        {moreTime ? (
          <p class="wrap-any">
            More time until {formatDate(moreTime.until)}. Reason: {moreTime.reason}
          </p>
        ) : null}
        {late ? (
          <p class="wrap-any">
            {late.text} <a href={`/billing/statements/${late.invoice.id}`}>View the invoice</a>
          </p>
        ) : null}
      </div>
    </section>
  );
}
