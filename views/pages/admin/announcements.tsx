/** Announcements for administrators: the list, and the form of one with a preview of its banner. */
import type { Listed } from "../../../src/lib/page.ts";
import {
  type AdminAnnouncementView,
  AUDIENCE_ROLE_NAMES,
  AUDIENCE_ROLES,
  SEVERITIES,
  type Severity,
} from "../../../src/notices/announcements/model.ts";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Markdown } from "../../parts/markdown.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Pager, RowName, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { SEVERITY_NAMES } from "../announcements/list.tsx";
import { AdminLayout } from "./frame.tsx";

const parent = { label: "Announcements", href: "/admin/announcements" };
const STATES: Record<AdminAnnouncementView["state"], string> = {
  scheduled: "Scheduled",
  current: "Shown now",
  ended: "Ended",
};

function audienceOf({ organizations, roles }: AdminAnnouncementView): string {
  const where =
    organizations.length === 0 ? "" : organizations.length === 1 ? "1 team" : `${organizations.length} teams`;
  const who = roles.map((role) => AUDIENCE_ROLE_NAMES[role]).join(", ");
  return [who || "Everybody", where].filter(Boolean).join(" in ");
}

function Actions({ row }: { row: AdminAnnouncementView }) {
  return (
    <div class="row">
      {row.state === "ended" ? null : (
        <ConfirmForm
          id={`end-${row.id}`}
          action={`/admin/announcements/${row.id}/end`}
          label="End now"
          buttonClass="button small"
          title="End this announcement?"
          lost={
            row.state === "current"
              ? "Its banner disappears from all pages."
              : "It is never shown, and no mail is sent."
          }
          verb="End it"
        />
      )}
      <ConfirmForm
        id={`delete-${row.id}`}
        action={`/admin/announcements/${row.id}/delete`}
        label="Delete"
        buttonClass="button small danger"
        title="Delete this announcement?"
        lost="Its banner disappears. The audit log keeps what it said; mails that were sent stay."
        verb="Delete it"
      />
    </div>
  );
}

/** `/admin/announcements` */
export function AnnouncementListPage({ announcements }: { announcements: Listed<AdminAnnouncementView> }) {
  const { items } = announcements;
  const write = (
    <a class="button primary" href="/admin/announcements/new" data-new>
      New announcement
    </a>
  );
  return (
    <AdminLayout title="Announcements" actions={items.length > 0 ? write : null}>
      {items.length === 0 ? (
        <div class="panel">
          <Empty icon="bell" title="No announcements" action={write}>
            An announcement is a banner above every page of its audience, from a start to an end. It can also be mailed.
            Programs read it at <code>/v1/announcements</code>.
          </Empty>
        </div>
      ) : (
        <section class="panel" id="announcements" aria-label="Announcements">
          <Table
            still
            label="Announcements"
            rows={items}
            rowId={(row) => row.id}
            columns={[
              {
                key: "title",
                label: "Title",
                name: true,
                render: (row) => (
                  <RowName
                    href={`/admin/announcements/${row.id}`}
                    name={row.title}
                    sub={`${SEVERITY_NAMES[row.severity]} · ${audienceOf(row)}${row.mail ? " · mail" : ""}`}
                  />
                ),
              },
              { key: "state", label: "State", tight: true, render: (row) => STATES[row.state] },
              {
                key: "from",
                label: "Starts",
                tight: true,
                wide: true,
                extra: true,
                render: (row) => <Time at={row.starts_at * 1000} />,
              },
              {
                key: "until",
                label: "Ends",
                tight: true,
                wide: true,
                render: (row) => (row.ends_at === null ? "when ended" : <Time at={row.ends_at * 1000} />),
              },
              {
                key: "hidden",
                label: "Dismissed",
                end: true,
                tight: true,
                wide: true,
                extra: true,
                render: (row) => row.dismissals,
              },
              {
                key: "act",
                label: "Actions",
                hideLabel: true,
                act: true,
                render: (row) => <Actions row={row} />,
              },
            ]}
          />
          <Pager
            shown={items.length}
            hasMore={announcements.hasMore}
            last={announcements.last}
            fragment="announcements"
          />
        </section>
      )}
    </AdminLayout>
  );
}

/** An announcement as typed into its form; times are UTC. */
export interface AnnouncementForm {
  title: string;
  text: string;
  severity: string;
  organizations: string[];
  roles: string[];
  starts_at: string;
  ends_at: string;
  /** `yes` = also by mail. */
  mail: string;
}

const KINDS: Record<Severity, "info" | "warn" | "bad"> = { info: "info", warning: "warn", critical: "bad" };
const SEVERITY_HINTS: Record<Severity, string> = {
  info: "can be dismissed",
  warning: "can be dismissed",
  critical: "stays, and its mail reaches everybody of the audience",
};

function Preview({ form }: { form: AnnouncementForm }) {
  const severity = SEVERITIES.find((one) => one === form.severity) ?? "info";
  return (
    <section class="panel" aria-label="Preview">
      <header>
        <h2>Preview</h2>
      </header>
      <div class="body">
        <Notice kind={KINDS[severity]} title={form.title || "Title"}>
          {form.text ? <Markdown text={form.text} /> : null}
        </Notice>
      </div>
    </section>
  );
}

function Audience(props: { form: AnnouncementForm; organizations: { id: string; name: string }[] }) {
  const { form, organizations } = props;
  return (
    <>
      <fieldset class="field">
        <legend>For which roles</legend>
        {AUDIENCE_ROLES.map((role) => (
          <label class="check">
            <input type="checkbox" name="roles" value={role} checked={form.roles.includes(role)} />
            <span>{AUDIENCE_ROLE_NAMES[role]}</span>
          </label>
        ))}
        <p class="hint">None checked: everybody.</p>
      </fieldset>
      <Field
        id="field-organizations"
        label="For which teams"
        hint="None selected: all teams. Ctrl selects several."
        render={(ids) => (
          <select name="organizations" multiple size={Math.min(6, Math.max(2, organizations.length))} {...ids}>
            {organizations.map(({ id, name }) => (
              <option value={id} selected={form.organizations.includes(id)}>
                {name}
              </option>
            ))}
          </select>
        )}
      />
    </>
  );
}

function MailField({ form, mailed, canMail }: { form: AnnouncementForm; mailed: boolean; canMail: boolean }) {
  if (mailed) return <p class="small muted">Its notices and mails were sent. They are not sent again.</p>;
  return (
    <label class="check">
      <input type="checkbox" name="mail" value="yes" checked={form.mail === "yes"} />
      <span>
        Also send it as a notice{canMail ? " and by mail" : ""} when it starts, once to each account
        {canMail ? "" : " (this installation has no mail server)"}. Users choose in their settings whether they get it;
        a critical one reaches everybody of the audience.
      </span>
    </label>
  );
}

/** `/admin/announcements/new` and `/admin/announcements/:id` */
export function AnnouncementFormPage(props: {
  /** Null for a new one. */
  id: string | null;
  form: AnnouncementForm;
  /** Its notices were stored. */
  mailed: boolean;
  organizations: { id: string; name: string }[];
  /** There is a mail server. */
  canMail: boolean;
  preview: boolean;
  error?: string;
}) {
  const { id, form, mailed, organizations, canMail, preview, error } = props;
  const action = `/admin/announcements/${id ?? "new"}`;
  return (
    <AdminLayout title={id === null ? "New announcement" : "Change announcement"} parent={parent}>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      {preview ? <Preview form={form} /> : null}
      <section class="panel">
        <form class="body form" method="post" action={action}>
          <TextField name="title" label="Title" required maxlength={150} value={form.title} />
          <Field
            id="field-text"
            label="Text"
            hint="Markdown, at most 1,000 characters: it is also the text of the mail. HTML is shown as text, and images are left out."
            render={(ids) => (
              <textarea name="text" rows={6} maxlength={1000} {...ids}>
                {form.text}
              </textarea>
            )}
          />
          <Field
            id="field-severity"
            label="Severity"
            render={(ids) => (
              <select name="severity" {...ids}>
                {SEVERITIES.map((severity) => (
                  <option value={severity} selected={severity === form.severity}>
                    {SEVERITY_NAMES[severity]}: {SEVERITY_HINTS[severity]}
                  </option>
                ))}
              </select>
            )}
          />
          <Audience form={form} organizations={organizations} />
          <div class="fields">
            <Field
              id="field-starts"
              label="Starts (UTC)"
              hint="Empty: now"
              render={(ids) => <input type="datetime-local" name="starts_at" value={form.starts_at} {...ids} />}
            />
            <Field
              id="field-ends"
              label="Ends (UTC)"
              hint="Empty: when you end it"
              render={(ids) => <input type="datetime-local" name="ends_at" value={form.ends_at} {...ids} />}
            />
          </div>
          <MailField form={form} mailed={mailed} canMail={canMail} />
          <div class="row">
            <button type="submit" class="button" formaction={`${action}/preview`}>
              Preview
            </button>
            <button type="submit" class="button primary">
              {id === null ? "Announce" : "Save"}
            </button>
          </div>
        </form>
      </section>
    </AdminLayout>
  );
}
