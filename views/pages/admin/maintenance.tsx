/** Maintenance windows for administrators: the list, and the form of one. */
import type { Listed } from "../../../src/lib/page.ts";
import { type MaintenanceView, spanText } from "../../../src/notices/maintenance/model.ts";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { AdminLayout } from "./frame.tsx";

const parent = { label: "Maintenance", href: "/admin/maintenance" };
const STATES: Record<MaintenanceView["state"], string> = {
  scheduled: "Scheduled",
  running: "Running",
  ended: "Ended",
  canceled: "Canceled",
};

const pathOf = (window: MaintenanceView) => `/admin/maintenance/${window.id}`;
const whenOf = ({ starts_at, ends_at }: MaintenanceView) => spanText(starts_at * 1000, ends_at * 1000);

function Actions({ window }: { window: MaintenanceView }) {
  if (window.state === "scheduled")
    return (
      <ConfirmForm
        id={`cancel-${window.id}`}
        action={`${pathOf(window)}/cancel`}
        label="Cancel"
        buttonClass="button small"
        title="Cancel this maintenance?"
        lost="Jobs that wait for it may start at once. Who was notified of it gets a notice."
        verb="Cancel the maintenance"
      />
    );
  if (window.state !== "running") return null;
  return (
    <ConfirmForm
      id={`end-${window.id}`}
      action={`${pathOf(window)}/end`}
      label="End now"
      buttonClass="button small"
      title="End this maintenance?"
      lost="Jobs start and resume, and stopped endpoints start again."
      verb="End it"
    />
  );
}

/** `/admin/maintenance` */
export function MaintenanceListPage({ windows }: { windows: Listed<MaintenanceView> }) {
  const { items } = windows;
  const schedule = (
    <a class="button primary" href="/admin/maintenance/new" data-new>
      Schedule maintenance
    </a>
  );
  return (
    <AdminLayout title="Maintenance" actions={items.length > 0 ? schedule : null}>
      {items.length === 0 ? (
        <div class="panel">
          <Empty icon="clock" title="No maintenance" action={schedule}>
            Before maintenance, no job starts that cannot end in time. When it starts, training jobs save a checkpoint
            and stop; when it ends, everything resumes by itself. Everybody sees it in a banner and in the queue. To
            take only one machine out of service, drain it under Hosts.
          </Empty>
        </div>
      ) : (
        <section class="panel" id="maintenance" aria-label="Maintenance">
          <Table
            still
            label="Maintenance"
            rows={items}
            rowId={(row) => row.id}
            columns={[
              {
                key: "when",
                label: "When",
                name: true,
                render: (row) =>
                  row.state === "scheduled" || row.state === "running" ? (
                    <RowName href={pathOf(row)} name={whenOf(row)} sub={row.reason} />
                  ) : (
                    <>
                      {whenOf(row)}
                      <span class="sub">{row.reason}</span>
                    </>
                  ),
              },
              { key: "state", label: "State", tight: true, render: (row) => STATES[row.state] },
              {
                key: "endpoints",
                label: "Endpoints",
                tight: true,
                wide: true,
                render: (row) => (row.endpoints === "stop" ? "stop" : "stay"),
              },
              { key: "act", label: "Actions", hideLabel: true, act: true, render: (row) => <Actions window={row} /> },
            ]}
          />
          <Pager shown={items.length} hasMore={windows.hasMore} last={windows.last} fragment="maintenance" />
        </section>
      )}
    </AdminLayout>
  );
}

/** A window as typed into its form; times are UTC. */
export interface MaintenanceForm {
  starts_at: string;
  ends_at: string;
  reason: string;
  message: string;
  endpoints: string;
  trainings: string;
  lead_minutes: string;
  /** `yes` = also by mail. */
  mail: string;
}

function Choice(props: { name: string; label: string; value: string; options: [string, string][] }) {
  return (
    <Field
      id={`field-${props.name}`}
      label={props.label}
      render={(ids) => (
        <select name={props.name} {...ids}>
          {props.options.map(([value, label]) => (
            <option value={value} selected={value === props.value}>
              {label}
            </option>
          ))}
        </select>
      )}
    />
  );
}

function Times({ form, running }: { form: MaintenanceForm; running: boolean }) {
  return (
    <div class="fields">
      <Field
        id="field-starts"
        label="Starts (UTC)"
        hint={running ? "It has started." : "Empty: now"}
        render={(ids) => (
          <input type="datetime-local" name="starts_at" value={form.starts_at} readonly={running} {...ids} />
        )}
      />
      <Field
        id="field-ends"
        label="Ends (UTC)"
        hint="You can end or extend it later"
        render={(ids) => <input type="datetime-local" name="ends_at" required value={form.ends_at} {...ids} />}
      />
    </div>
  );
}

/** `/admin/maintenance/new` and `/admin/maintenance/:id` */
export function MaintenanceFormPage(props: {
  /** Null for a new one. */
  window: MaintenanceView | null;
  form: MaintenanceForm;
  /** There is a mail server. */
  canMail: boolean;
  error?: string;
}) {
  const { window, form, canMail, error } = props;
  const running = window?.state === "running";
  return (
    <AdminLayout
      title={window ? "Change maintenance" : "Schedule maintenance"}
      parent={parent}
      actions={window ? <Actions window={window} /> : null}
    >
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <section class="panel">
        <form class="body form" method="post" action={window ? pathOf(window) : "/admin/maintenance/new"}>
          <p class="small muted">
            No job starts whose estimate ends after the maintenance begins. When it begins, training jobs save a
            checkpoint and wait in the queue; when it ends, they resume without losing a step. New jobs are still
            accepted.
          </p>
          <Times form={form} running={running} />
          <TextField
            name="reason"
            label="Reason"
            required
            maxlength={120}
            value={form.reason}
            hint="Shown in the banner and the queue: Driver update on all machines"
          />
          <Field
            id="field-message"
            label="More for users"
            hint="Markdown; may be empty. HTML is shown as text, and images are left out."
            render={(ids) => (
              <textarea name="message" rows={4} maxlength={800} {...ids}>
                {form.message}
              </textarea>
            )}
          />
          <Choice
            name="endpoints"
            label="Endpoints"
            value={form.endpoints}
            options={[
              ["stay", "keep running"],
              ["stop", "stop when it begins, and start again when it ends"],
            ]}
          />
          <Choice
            name="trainings"
            label="Training jobs that cannot end before it"
            value={form.trainings}
            options={[
              ["wait", "start after it"],
              ["interrupt", "start now, save a checkpoint when it begins, and resume after it"],
            ]}
          />
          <Field
            id="field-lead"
            label="Jobs without an estimate start no later than (minutes before)"
            render={(ids) => (
              <input
                type="number"
                name="lead_minutes"
                min={0}
                max={43_200}
                required
                value={form.lead_minutes}
                {...ids}
              />
            )}
          />
          <label class="check">
            <input type="checkbox" name="mail" value="yes" checked={form.mail === "yes"} />
            <span>
              Send a notice{canMail ? " and a mail" : " (this installation has no mail server)"} to everybody when it is
              scheduled, moved or canceled. Users choose in their settings whether they get it.
            </span>
          </label>
          <div class="row">
            <button type="submit" class="button primary">
              {window ? "Save" : "Schedule"}
            </button>
          </div>
        </form>
      </section>
    </AdminLayout>
  );
}
