/** What people may change about a job (name, tags and note), take from it, and archiving or deleting it. */
import { isFinal } from "../../../src/contract/job.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ActionButton, ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Snippet } from "../../parts/value.tsx";

/** The metrics for other programs: files, and the command that copies them to MLflow. */
export function JobMetricsFiles({ job }: { job: JobRow }) {
  const path = `/v1/jobs/${encodeURIComponent(job.id)}`;
  return (
    <section class="panel" aria-labelledby="metrics-title">
      <header>
        <h2 id="metrics-title">Metrics for other tools</h2>
      </header>
      <div class="body stack">
        <p class="row">
          <a class="button small" href={`${path}/tensorboard`} download>
            <Icon name="download" />
            TensorBoard
          </a>
          <a class="button small" href={`${path}/metrics.csv`} download>
            <Icon name="download" />
            CSV
          </a>
        </p>
        {isFinal(job.state) ? (
          <Snippet label="MLflow" text={`finetune-lab job mlflow ${job.id} --tracking http://localhost:5000`} />
        ) : null}
      </div>
    </section>
  );
}

/** Not refreshed while the page is live, so that nothing typed is lost. */
export function JobAbout({ job }: { job: JobRow }) {
  const path = `/jobs/${encodeURIComponent(job.id)}`;
  const ended = isFinal(job.state) || job.state === "paused";
  return (
    <section class="panel" aria-labelledby="about-title">
      <header>
        <h2 id="about-title">Name, tags and note</h2>
        {job.archivedAt ? <span class="tag">archived</span> : null}
      </header>
      <div class="body stack">
        {job.note ? (
          <p class="wrap-any" dir="auto">
            {job.note}
          </p>
        ) : null}
        {job.tags.length ? (
          <p class="row">
            {job.tags.map((tag) => (
              <a class="tag" href={`/jobs?tag=${encodeURIComponent(tag)}`} dir="auto">
                {tag}
              </a>
            ))}
          </p>
        ) : null}
        <details class="more">
          <summary>
            <Icon name="right" />
            Change
          </summary>
          <PostForm action={`${path}/edit`} class="form">
            <TextField name="name" label="Name" value={job.name} maxlength={200} required />
            <TextField
              name="tags"
              label="Tags"
              value={job.tags.join(", ")}
              hint="Separated by commas; the list of jobs can be filtered by them."
              maxlength={800}
            />
            <Field
              id="field-note"
              label="Note"
              render={(ids) => (
                <textarea name="note" rows={3} maxlength={4000} dir="auto" {...ids}>
                  {job.note}
                </textarea>
              )}
            />
            <div class="row">
              <button type="submit" class="button">
                Save
              </button>
            </div>
          </PostForm>
        </details>
        {ended ? (
          <div class="row">
            <ActionButton
              action={`${path}/edit`}
              class="small"
              fields={{ archived: job.archivedAt ? "no" : "yes" }}
              title="Archived jobs are left out of the list"
            >
              {job.archivedAt ? "Unarchive" : "Archive"}
            </ActionButton>
            {isFinal(job.state) ? (
              <ConfirmForm
                id="delete-job"
                action={`${path}/delete`}
                owner={job.createdBy}
                label="Delete"
                buttonClass="button small danger"
                title={`Delete “${job.name}”?`}
                lost="Its metrics, log, samples, checkpoints and files are deleted. Usage and cost stay in the ledger. A job whose model or deployment still exists is kept."
                verb="Delete this job"
              />
            ) : null}
          </div>
        ) : null}
      </div>
    </section>
  );
}
