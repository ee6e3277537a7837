/** The label of a dataset whose rows never leave this machine: its badge, and the forms that set it. */
import { ConfirmForm, SheetForm } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";

const LEAVES = { stays_local: "false" };

export const StaysBadge = ({ stays }: { stays: boolean }) =>
  stays ? (
    <span class="badge" title="Its rows never leave this server's machine">
      Stays here
    </span>
  ) : null;

/** The choice in the forms that add a dataset. */
export function StaysChoice({ hint }: { hint?: boolean }) {
  return (
    <label class="check">
      <input type="checkbox" name="stays_local" value="true" />
      <span>
        <strong>Stays here</strong>:{" "}
        {hint
          ? "its rows never leave this server. Jobs on it run only on this machine."
          : "rows never leave this server"}
      </span>
    </label>
  );
}

/** Sets the label, or takes it away, which only its owner and the managers of the team may. */
export function StaysForm({ id, name, stays, owner }: { id: string; name: string; stays: boolean; owner: string }) {
  const action = `/datasets/${id}/stays-local`;
  return (
    <details class="more in-panel" id="stays-local">
      <summary>
        <Icon name="right" />
        Where its rows may go
      </summary>
      <div class="form body">
        <p class="small">
          {stays
            ? "Its rows stay on this server's machine: jobs on it run only here. The label also holds for new versions and for datasets of the same file. Its owner and the managers of the team can remove it."
            : "Jobs on this dataset may run on machines elsewhere, which download its rows. To prevent that, let it stay here: its jobs then run only on this server's machine, as do those of datasets with the same file. Models trained on it stay here too: they are not pushed to a hub, nor run on rented machines."}
        </p>
        <div class="row">
          {stays ? (
            <ConfirmForm
              id="stays-local"
              action={action}
              owner={owner}
              label="Let its rows leave this machine"
              buttonClass="button danger"
              title={`Let the rows of ${name} leave this machine?`}
              lost="Jobs on it may then run on rented machines, which download its rows. Datasets of the same file and models trained on it keep their labels."
              verb="Let its rows leave"
              fields={LEAVES}
            />
          ) : (
            <SheetForm
              id="stays-local"
              action={action}
              label="Keep its rows here"
              buttonClass="button"
              title={`Keep the rows of ${name} here?`}
              verb="Keep its rows here"
            >
              <p class="muted">
                Jobs on it then run only on this server's machine; queued ones wait for it. Only its owner and the
                managers of the team can remove the label.
              </p>
              <input type="hidden" name="stays_local" value="true" />
            </SheetForm>
          )}
        </div>
      </div>
    </details>
  );
}
