/** The form for the scheduling options of a job. */

import type { WaitingView } from "../../../src/training/queue/service.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { PostForm } from "../../parts/allowed.tsx";
import { Field, TextField } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { KeyValue, Time } from "../../parts/value.tsx";
import { BurstFields } from "./burst.tsx";
import type { PlaceForm } from "./form.ts";
import { exactly, soon } from "./words.ts";

interface PlaceProps {
  job: { id: string; name: string; state: string; queuedAt: number | null };
  waiting: Pick<WaitingView, "position" | "waiting" | "start" | "late"> | null;
  /** The job belongs to the user's own team. */
  own: boolean;
  admin: boolean;
  form: PlaceForm;
  /** Validation messages by field; `_` for the whole form. */
  problems: Record<string, string>;
}

/** A field for a time in UTC. */
function Moment(props: {
  name: "not_before" | "deadline";
  label: string;
  hint: string;
  value: string;
  error?: string;
}) {
  return (
    <Field
      id={`field-${props.name}`}
      label={props.label}
      hint={props.hint}
      error={props.error}
      render={(ids) => <input {...ids} name={props.name} type="datetime-local" value={props.value} />}
    />
  );
}

const DAYS = [
  ["1", "Mon"],
  ["2", "Tue"],
  ["3", "Wed"],
  ["4", "Thu"],
  ["5", "Fri"],
  ["6", "Sat"],
  ["0", "Sun"],
] as const;

/** Fields for the time window of a job. */
function WindowFields({ form, problems }: Pick<PlaceProps, "form" | "problems">) {
  return (
    <fieldset>
      <legend>Time window</legend>
      <div class="fields">
        <Field
          id="field-from"
          label="From"
          error={problems.from}
          render={(ids) => <input {...ids} name="from" type="time" value={form.from} />}
        />
        <Field
          id="field-until"
          label="Until"
          error={problems.until}
          render={(ids) => <input {...ids} name="until" type="time" value={form.until} />}
        />
        <TextField name="tz" label="Time zone" value={form.tz} placeholder="Europe/Berlin" error={problems.tz} />
      </div>
      <fieldset class="row days">
        <legend class="visually-hidden">Days on which the window opens</legend>
        {DAYS.map(([value, label]) => (
          <label class="check">
            <input type="checkbox" name="days" value={value} checked={form.days.includes(value)} />
            {label}
          </label>
        ))}
      </fieldset>
      {problems.days ? <p class="xs bad-text">{problems.days}</p> : null}
      <p class="xs muted">
        The job runs only within the window. When the window closes, it saves a checkpoint and waits for the next one.
        Leave both times empty for no window. Without a selected day, the window opens every day. A window over midnight
        belongs to the day on which it opens.
      </p>
    </fieldset>
  );
}

/** Fields for scheduling options; the new-job form has the same. */
export function PlaceFields({ form, problems, admin }: Pick<PlaceProps, "form" | "problems" | "admin">) {
  return (
    <>
      <TextField
        name="priority"
        label="Priority"
        type="text"
        inputmode="numeric"
        pattern="-?[0-9]{1,3}"
        value={form.priority}
        placeholder="0"
        error={problems.priority}
        hint={
          admin
            ? "-100 to 100. Work of a higher priority starts first and may preempt running training, which saves a checkpoint."
            : "-100 to 0. Work of a lower priority starts later. Only administrators set priorities above 0."
        }
      />
      <div class="fields">
        <Moment
          name="not_before"
          label="Not before"
          hint="Earliest start, in UTC."
          value={form.not_before}
          error={problems.not_before}
        />
        <Moment
          name="deadline"
          label="Deadline"
          hint="In UTC. When time runs short, the job starts before other work of its team."
          value={form.deadline}
          error={problems.deadline}
        />
      </div>
      <WindowFields form={form} problems={problems} />
      <BurstFields form={form} problems={problems} inherits="Team's default" />
    </>
  );
}

export function SchedulingPage({ job, waiting, own, admin, form, problems }: PlaceProps) {
  const { now } = usePage();
  const path = `/queue/${encodeURIComponent(job.id)}`;
  return (
    <Layout title={job.name} crumbs={[{ label: "Queue", href: "/queue" }]} beside={<StateBadge state={job.state} />}>
      <div class="split">
        <section class="panel">
          <header>
            <h2>Scheduling options</h2>
          </header>
          <PostForm action={path} class="body form">
            {problems._ ? (
              <Notice kind="bad" alert>
                {problems._}
              </Notice>
            ) : null}
            <PlaceFields form={form} problems={problems} admin={admin} />
            <div class="row">
              <button type="submit" class="button primary">
                Save
              </button>
              <a class="button" href="/queue">
                Back
              </a>
            </div>
          </PostForm>
        </section>
        <aside class="panel body-only">
          <KeyValue
            rows={[
              own
                ? ["Job", <a href={`/jobs/${encodeURIComponent(job.id)}`}>{job.name}</a>]
                : ["Job", job.name, "Belongs to another team. You can change only its scheduling options."],
              ["Queued", <Time at={job.queuedAt} />],
              waiting && ["Position", waiting.position],
              waiting?.waiting ? ["Waits for", waiting.waiting.message] : null,
              waiting && [
                "Predicted start",
                <span title={exactly(waiting.start)}>{soon(waiting.start, now)}</span>,
                waiting.late ? "It will miss its deadline." : (waiting.start.why ?? undefined),
              ],
            ]}
          />
        </aside>
      </div>
    </Layout>
  );
}
