/** The terms for administrators: every version, and the form that publishes the next one, with preview and diff. */

import type { VersionView } from "../../../src/accounts/terms/model.ts";
import { type AcceptanceView, DOCUMENTS, type DocumentName, TITLES } from "../../../src/accounts/terms/model.ts";
import type { DiffPart } from "../../../src/lib/text/line-diff.ts";
import { usePage } from "../../context.ts";
import { ConfirmForm, Field, TextField } from "../../parts/form.tsx";
import { Markdown } from "../../parts/markdown.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { dateOf } from "../terms/document.tsx";
import { AdminLayout } from "./frame.tsx";

const parent = { label: "Terms", href: "/admin/terms" };

function stateOf(version: VersionView, versions: readonly VersionView[], now: number): string {
  if (version.withdrawn_at !== null) return "Withdrawn";
  if (version.effective_at * 1000 > now) return "Scheduled";
  const replaced = versions.some(
    (other) =>
      other.document === version.document &&
      other.withdrawn_at === null &&
      other.version > version.version &&
      other.effective_at * 1000 <= now,
  );
  return replaced ? "Replaced" : "In force";
}

function Versions({ name, versions }: { name: DocumentName; versions: VersionView[] }) {
  const { now } = usePage();
  const rows = versions.filter((one) => one.document === name);
  return (
    <section class="panel" aria-label={TITLES[name]}>
      <header>
        <h2>{TITLES[name]}</h2>
        <a class="button small" href={`/admin/terms/${name}`}>
          {rows.length > 0 ? "New version" : "Write"}
        </a>
      </header>
      {rows.length === 0 ? (
        <div class="body small muted">Not published: nothing of it is shown, and nobody has to accept it.</div>
      ) : (
        <Table
          still
          label={TITLES[name]}
          rows={rows}
          rowId={(row) => row.id}
          columns={[
            {
              key: "version",
              label: "Version",
              name: true,
              render: (row) =>
                row.withdrawn_at === null ? (
                  <a href={row.path}>
                    Version {row.version}
                    {row.summary ? `: ${row.summary}` : ""}
                  </a>
                ) : (
                  `Version ${row.version}`
                ),
            },
            { key: "state", label: "State", tight: true, render: (row) => stateOf(row, versions, now) },
            { key: "date", label: "Takes effect", tight: true, render: (row) => dateOf(row.effective_at) },
            {
              key: "material",
              label: "Change",
              wide: true,
              tight: true,
              render: (row) => (row.material ? "Material" : "Not material"),
            },
            {
              key: "act",
              label: "Actions",
              hideLabel: true,
              act: true,
              render: (row) =>
                stateOf(row, versions, now) === "Scheduled" ? (
                  <ConfirmForm
                    id={row.id}
                    action={`/admin/terms/${row.id}/withdraw`}
                    label="Withdraw"
                    buttonClass="button small"
                    title={`Withdraw version ${row.version}?`}
                    lost="It does not take effect. Who was notified of it gets a notice."
                    verb="Withdraw it"
                  />
                ) : null,
            },
          ]}
        />
      )}
    </section>
  );
}

const HOW: Record<AcceptanceView["how"], string> = {
  page: "On the page",
  api: "By the API",
  sign_up: "When signing up",
  invitation: "With the invitation",
  continued_use: "By continued use",
};

function Acceptances({ rows }: { rows: AcceptanceView[] }) {
  return (
    <section class="panel" aria-label="Accepted by">
      <header>
        <h2>Accepted by</h2>
        <div class="row">
          <a class="button small" href="/v1/admin/terms/acceptances/export?format=csv" download>
            CSV
          </a>
          <a class="button small" href="/v1/admin/terms/acceptances/export?format=jsonl" download>
            JSONL
          </a>
        </div>
      </header>
      {rows.length === 0 ? (
        <Empty slim icon="user" title="Nobody has accepted a version yet" />
      ) : (
        <Table
          still
          label="Accepted by"
          rows={rows}
          rowId={(row) => row.id}
          columns={[
            { key: "who", label: "Account", name: true, render: (row) => <span dir="auto">{row.email}</span> },
            {
              key: "what",
              label: "Version",
              tight: true,
              render: (row) => `${TITLES[row.document]} ${row.version}`,
            },
            { key: "how", label: "How", wide: true, tight: true, render: (row) => HOW[row.how] },
            { key: "address", label: "Address", wide: true, tight: true, render: (row) => row.address },
            { key: "at", label: "When", tight: true, render: (row) => <Time at={row.created_at * 1000} /> },
          ]}
        />
      )}
    </section>
  );
}

/** `/admin/terms` */
export function TermsPage(props: { versions: VersionView[]; acceptances: AcceptanceView[]; byUse: boolean }) {
  return (
    <AdminLayout title="Terms">
      <p class="small muted">
        Published documents are public.{" "}
        {props.byUse
          ? "Who continues to use the installation after a version takes effect accepts it (terms_acceptance)."
          : "Once a material version is in force, everybody has to accept it before they continue."}
      </p>
      {DOCUMENTS.map((name) => (
        <Versions name={name} versions={props.versions} />
      ))}
      <Acceptances rows={props.acceptances} />
    </AdminLayout>
  );
}

const SIGNS = { same: " ", added: "+", removed: "-" } as const;

function Difference({ parts }: { parts: DiffPart[] }) {
  const lines = parts.flatMap(({ kind, text }) =>
    text
      .replace(/\n$/, "")
      .split("\n")
      .map((line) => ({ kind, line })),
  );
  return (
    <pre class="line-diff">
      {lines.map(({ kind, line }) => {
        const shown = `${SIGNS[kind]} ${line}\n`;
        return kind === "added" ? <ins>{shown}</ins> : kind === "removed" ? <del>{shown}</del> : shown;
      })}
    </pre>
  );
}

export interface TermsForm {
  text: string;
  summary: string;
  /** As `2026-11-30`; empty = now. */
  date: string;
  material: boolean;
}

/** `/admin/terms/:id`: the next version of a document. */
export function TermsEditPage(props: {
  document: DocumentName;
  form: TermsForm;
  /** Null before the first version. */
  before: VersionView | null;
  earliest: string;
  preview?: { diff: DiffPart[] | null };
  error?: string;
}) {
  const { document, form, before, earliest, preview, error } = props;
  return (
    <AdminLayout title={TITLES[document]} parent={parent}>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      {preview ? (
        <section class="panel" aria-label="Preview">
          <header>
            <h2>Preview</h2>
          </header>
          <div class="body">
            <Markdown text={form.text} />
          </div>
        </section>
      ) : null}
      {preview?.diff ? (
        <section class="panel" aria-label="Differences">
          <header>
            <h2>Differences to version {before?.version}</h2>
          </header>
          <div class="body">
            <Difference parts={preview.diff} />
          </div>
        </section>
      ) : null}
      <section class="panel">
        <header>
          <h2>{before ? `Version ${before.version + 1}` : "First version"}</h2>
        </header>
        <form class="body form" method="post" action={`/admin/terms/${document}`}>
          <Field
            id="field-text"
            label="Text"
            hint="Markdown. HTML is shown as text, and images are left out."
            render={(ids) => (
              <textarea name="text" rows={20} required maxlength={200_000} class="mono" {...ids}>
                {form.text}
              </textarea>
            )}
          />
          <TextField
            name="summary"
            label="What changed"
            maxlength={800}
            value={form.summary}
            hint="For the notice and the page; may be empty"
          />
          <div class="fields">
            <Field
              id="field-date"
              label="Takes effect (UTC)"
              hint={
                before
                  ? `A material change: ${earliest} or later. Empty, for others: now`
                  : "Empty: now. The first version needs no 30 days"
              }
              render={(ids) => <input type="date" name="date" value={form.date} {...ids} />}
            />
          </div>
          {before ? (
            <label class="check">
              <input type="checkbox" name="minor" value="yes" checked={!form.material} />
              <span>Not a material change (a typo): nobody is notified or has to accept it</span>
            </label>
          ) : null}
          <div class="row">
            <button type="submit" class="button" formaction={`/admin/terms/${document}/preview`}>
              Preview
            </button>
            <button type="submit" class="button primary">
              Publish
            </button>
          </div>
        </form>
      </section>
    </AdminLayout>
  );
}
