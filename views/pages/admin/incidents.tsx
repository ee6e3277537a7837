/** The status page for administrators: incidents to open, update and resolve, and the names of components. */
import type { AdminComponentView, IncidentView } from "../../../src/insights/status/model.ts";
import { IMPACTS, INCIDENT_STATES } from "../../../src/insights/status/model.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, SheetForm, TextField } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { IncidentEntry } from "../status/incident.tsx";
import { AdminLayout } from "./frame.tsx";

/** A new incident as typed. */
export interface IncidentForm {
  title: string;
  text: string;
  impact: string;
  status: string;
  components: string[];
  notify: boolean;
}

interface IncidentsProps {
  incidents: Listed<IncidentView>;
  components: AdminComponentView[];
  /** The setting status_page. */
  page: "off" | "members" | "public";
  /** A form that was refused. */
  form?: IncidentForm;
  error?: string;
}

const IMPACT_HINTS: Record<(typeof IMPACTS)[number], string> = {
  none: "Information only",
  minor: "Minor: components are degraded",
  major: "Major: components are down",
};
const SHOWN: Record<IncidentsProps["page"], string> = {
  off: "Nobody sees it (`status_page` is `off`). Probes run all the same.",
  members: "Signed-in users see it (`status_page` is `members`).",
  public: "Everybody sees it, also without an account (`status_page` is `public`).",
};

function Select({
  name,
  label,
  value,
  options,
}: {
  name: string;
  label: string;
  value: string;
  options: [string, string][];
}) {
  return (
    <Field
      id={`field-${name}`}
      label={label}
      render={(ids) => (
        <select name={name} {...ids}>
          {options.map(([key, text]) => (
            <option value={key} selected={key === value}>
              {text}
            </option>
          ))}
        </select>
      )}
    />
  );
}

const word = (state: string) => (state[0]?.toUpperCase() ?? "") + state.slice(1);
const states = INCIDENT_STATES.map((state): [string, string] => [state, word(state)]);

function Affected({ components, chosen }: { components: AdminComponentView[]; chosen: string[] }) {
  return (
    <fieldset class="form">
      <legend>Affected components</legend>
      <div class="choices">
        {components.map(({ id, name }) => (
          <label class="choice">
            <input type="checkbox" name="components" value={id} checked={chosen.includes(id)} />
            {name}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

function Notify({ on }: { on: boolean }) {
  return (
    <label class="choice">
      <input type="checkbox" name="notify" value="yes" checked={on} />
      Notify all users, by mail where they chose so
    </label>
  );
}

function OpenForm({ components, form, error }: IncidentsProps) {
  const now = form ?? { title: "", text: "", impact: "minor", status: "investigating", components: [], notify: false };
  return (
    <SheetForm
      id="incident"
      action="/admin/incidents"
      label="Open incident"
      title="Open an incident"
      verb="Post it"
      error={error}
    >
      <TextField name="title" label="Title" required maxlength={200} value={now.title} />
      <Field
        id="field-text"
        label="What happens"
        hint="Markdown. Say what does not work and when you write again."
        render={(ids) => (
          <textarea name="text" rows={5} required maxlength={10_000} {...ids}>
            {now.text}
          </textarea>
        )}
      />
      <div class="fields">
        <Select
          name="impact"
          label="Impact"
          value={now.impact}
          options={IMPACTS.map((impact) => [impact, IMPACT_HINTS[impact]])}
        />
        <Select name="status" label="Status" value={now.status} options={states} />
      </div>
      <Affected components={components} chosen={now.components} />
      <Notify on={now.notify} />
    </SheetForm>
  );
}

function Actions({ incident }: { incident: IncidentView }) {
  const { id, status, title } = incident;
  return (
    <details class="more">
      <summary>
        <Icon name="right" />
        {status === "resolved" ? "Add a note, open it again, or delete it" : "Update or resolve"}
      </summary>
      <div class="stack">
        <PostForm class="form" action={`/admin/incidents/${id}/updates`}>
          <Select name="status" label="Status" value={status} options={states} />
          <Field
            id={`text-${id}`}
            label="Update"
            hint="Markdown"
            render={(ids) => <textarea name="text" rows={4} required maxlength={10_000} {...ids} />}
          />
          <Notify on={false} />
          <div class="row">
            <button type="submit" class="button primary">
              Post update
            </button>
            <ConfirmForm
              id={`delete-${id}`}
              action={`/admin/incidents/${id}/delete`}
              label="Delete"
              buttonClass="button danger"
              title="Delete this incident?"
              lost={`"${title}" and its updates disappear from the status page. Notices that were sent stay.`}
              verb="Delete the incident"
            />
          </div>
        </PostForm>
      </div>
    </details>
  );
}

function Components({ components }: Pick<IncidentsProps, "components">) {
  return (
    <section class="panel" aria-label="Components">
      <header>
        <h2>Components</h2>
      </header>
      {components.length === 0 ? (
        <p class="body small muted">The first probe has not run yet. It takes a minute.</p>
      ) : (
        <Table
          still
          label="Components"
          rows={components}
          rowId={(row) => row.id}
          columns={[
            { key: "watches", label: "Watches", tight: true, wide: true, render: (row) => <code>{row.watches}</code> },
            {
              key: "name",
              label: "Shown as",
              render: (row) => (
                <PostForm class="inline-form" action={`/admin/incidents/components/${row.id}`}>
                  <input
                    name="name"
                    aria-label={`Name of ${row.watches}`}
                    value={row.label ?? ""}
                    placeholder={row.name}
                    maxlength={80}
                  />
                  <label class="check">
                    <input type="checkbox" name="hidden" value="yes" checked={row.hidden} />
                    Hidden
                  </label>
                  <button type="submit" class="button small">
                    Save
                  </button>
                </PostForm>
              ),
            },
            {
              key: "state",
              label: "State",
              render: (row) => (
                <>
                  <StateBadge state={row.state} />
                  {row.problem ? <span class="sub wrap-any">{row.problem}</span> : null}
                </>
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

export function IncidentsPage(props: IncidentsProps) {
  const { incidents, components, page } = props;
  return (
    <AdminLayout
      title="Incidents"
      actions={
        <>
          {page === "off" ? null : (
            <a class="button" href="/status">
              Open the status page
            </a>
          )}
          <OpenForm {...props} />
        </>
      }
    >
      <Notice kind="info" title="The status page">
        {SHOWN[page]}
      </Notice>
      <section class="panel" aria-label="Incidents">
        <header>
          <h2>Open and past incidents</h2>
        </header>
        {incidents.items.length === 0 ? (
          <Empty slim icon="ok" title="No incidents">
            Open one when something does not work: users see it on the status page and above every page.
          </Empty>
        ) : (
          incidents.items.map((incident) => (
            <IncidentEntry incident={incident} actions={<Actions incident={incident} />} />
          ))
        )}
        <Pager shown={incidents.items.length} hasMore={incidents.hasMore} last={incidents.last} />
      </section>
      <Components components={components} />
    </AdminLayout>
  );
}
