/** The label of a dataset whose rows never leave this machine: its badge, and the form that sets it. */
import { PostForm } from "../../parts/allowed.tsx";
import { Icon } from "../../parts/icons.tsx";

export const StaysBadge = ({ stays }: { stays: boolean }) =>
  stays ? (
    <span class="badge" title="Its rows never leave this server's machine">
      Stays here
    </span>
  ) : null;

/** Sets the label, or takes it away. */
export function StaysForm({ id, stays }: { id: string; stays: boolean }) {
  return (
    <details class="more in-panel">
      <summary>
        <Icon name="right" />
        Where its rows may go
      </summary>
      <PostForm class="form body" action={`/datasets/${id}/stays-local`}>
        <p class="small">
          {stays
            ? "Its rows stay on this server's machine: jobs on it run only here. The label also holds for new versions and for datasets of the same file."
            : "Jobs on this dataset may run on machines elsewhere, which download its rows. To prevent that, let it stay here: its jobs then run only on this server's machine, as do those of datasets with the same file."}
        </p>
        <input type="hidden" name="stays_local" value={stays ? "false" : "true"} />
        <div class="row">
          <button type="submit" class={stays ? "button danger" : "button"}>
            {stays ? "Let its rows leave this machine" : "Keep its rows here"}
          </button>
        </div>
      </PostForm>
    </details>
  );
}
