/** The label of a model that never leaves this server: its badge, and the section that changes it. */
import { Field, SheetForm } from "../../parts/form.tsx";

export const ModelStaysBadge = ({ stays }: { stays: boolean }) =>
  stays ? (
    <span class="badge" title="It runs only on this server's machine and is not pushed to a hub">
      Stays here
    </span>
  ) : null;

/** Says where the model may go, and changes it. `owner`: who created it. */
export function ModelStays(props: { model: string; stays: boolean; owner: string | undefined }) {
  const action = `/models/${encodeURIComponent(props.model)}/stays-local`;
  return (
    <section class="panel" id="stays-local" aria-labelledby="stays-title">
      <header>
        <h2 id="stays-title">Where it may run</h2>
        {props.stays ? (
          <SheetForm
            id="stays-local"
            action={action}
            owner={props.owner}
            label="Let it leave this server"
            title="Let this model leave this server?"
            verb="Let it leave"
            buttonClass="button small"
          >
            <p class="muted">
              Its training data stays on this server, and a model can repeat what it was trained on. Afterwards the
              model, its exports and base models made from it may run on rented machines and be pushed to a hub. Models
              trained from it keep their labels.
            </p>
            <Field
              id="stays-reason"
              label="Reason"
              hint="It is kept in the audit log."
              render={(ids) => <input name="reason" required maxlength={500} {...ids} />}
            />
            <input type="hidden" name="stays_local" value="false" />
          </SheetForm>
        ) : (
          <SheetForm
            id="stays-local"
            action={action}
            label="Keep it here"
            title="Keep this model on this server?"
            verb="Keep it here"
            buttonClass="button small"
          >
            <p class="muted">
              It then runs only on this server's machine, and is not pushed to a hub. That also holds for its
              checkpoints and exports, and for models trained from it from now on. Only its owner and the managers of
              the team can take the label away.
            </p>
            <input type="hidden" name="stays_local" value="true" />
          </SheetForm>
        )}
      </header>
      <div class="body">
        <p class="small">
          {props.stays
            ? "It stays on this server, because it was trained on data that does or was kept here by hand: its endpoint, evaluations, exports and trainings from it run only on this server's machine, and it is not pushed to a hub."
            : "Its endpoint and jobs may run on rented machines, and it may be pushed to a hub."}
        </p>
      </div>
    </section>
  );
}
