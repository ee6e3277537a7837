/** Every setting of the server with its value, where that came from, and how to change it. */
import type { SecretSettingView } from "../../../src/insights/installation/secret-settings.ts";
import type { SettingRow } from "../../../src/insights/installation/settings.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { ConfirmForm, Field, SheetForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { Table } from "../../parts/table.tsx";
import { AdminLayout } from "./frame.tsx";

/** Groups of settings by the start or name of each; the rest follows under the last title. */
const GROUPS: [string, RegExp][] = [
  [
    "Server",
    /^(contact_address|abuse_address|data_dir|listen|public_url|trusted_proxies|allowed_origins|log_level|database_.*)$/,
  ],
  ["Sign-in", /^(password_.*|key_.*|session_.*|require_.*|two_factor_.*|open_sign_up|terms_.*)$/],
  [
    "Hardware and trainer",
    /^(python|trainer_env|environments_dir|torch|providers|provider_settings|max_preemptions|.*_slots)$/,
  ],
  ["Limits", /^(max_.*|quota_.*|disk_reserve_bytes|requests_per_minute)$/],
  [
    "Models and endpoints",
    /^(hub_.*|models_from_hub|prepared_models|import_roots|(paid_)?idle_after_s|endpoint_queue|embedding_model)$/,
  ],
  ["Mail and notices", /^(mail_.*|notice_.*|webhook_hosts|status_.*)$/],
  [
    "Data and privacy",
    /^(pii_.*|presidio_.*|subject_.*|moderation_.*|answer_retention_days|audit_retention_days|deletion_.*|dataset_roots|import_hosts)$/,
  ],
  ["Other", /./],
];
const SOURCES = {
  default: "Default",
  file: "config.json",
  environment: "Environment",
  flag: "Command line",
  secret_file: "File of its own",
  page: "This page, encrypted",
} as const;

function groupsOf(settings: SettingRow[]): [string, SettingRow[]][] {
  const groupOf = (row: SettingRow) => GROUPS.find(([, names]) => names.test(row.name))?.[0] ?? "Other";
  const found = Map.groupBy(settings, groupOf);
  return GROUPS.flatMap(([title]): [string, SettingRow[]][] => {
    const rows = found.get(title);
    return rows ? [[title, rows]] : [];
  });
}

/** Bytes with their size in words. */
const shownValue = ({ name, value }: SettingRow) =>
  value !== null && name.endsWith("bytes") && Number(value) > 0 ? `${value} (${formatBytes(Number(value))})` : value;

/** Where the value of a secret setting is. */
function SecretState({ of }: { of: SecretSettingView }) {
  if (of.source === "page") return <span>Set, encrypted</span>;
  if (of.source === "file")
    return (
      <span>
        In plain text in <code class="wrap-any">{of.path}</code>
      </span>
    );
  if (of.source === "secret_file") return <span>Set by a file of its own</span>;
  return of.source === null ? <span class="muted">not set</span> : <span>{SOURCES[of.source]}, in plain text</span>;
}

function SecretActions({ of }: { of: SecretSettingView }) {
  const fields = { name: of.name };
  if (of.source === "environment" || of.source === "flag" || of.source === "secret_file") return null;
  return (
    <div class="row end">
      {of.source === "file" ? (
        <PostForm action="/admin/settings/secrets/encrypt">
          <input type="hidden" name="name" value={of.name} />
          <button type="submit" class="button small">
            Encrypt
          </button>
        </PostForm>
      ) : null}
      <SheetForm
        id={`secret-${of.name.replaceAll(".", "-")}`}
        action="/admin/settings/secrets"
        label={of.source === null ? "Set" : "Change"}
        buttonClass="button small"
        title={of.label}
        verb="Save"
      >
        <input type="hidden" name="name" value={of.name} />
        <p class="muted small">
          {of.help} The value is stored encrypted and never shown.
          {of.source === "file" ? " The one in the file is removed." : ""}
          {of.needs_restart ? " Restart the server to use it." : ""}
        </p>
        <Field
          id={`value-${of.name.replaceAll(".", "-")}`}
          label="Value"
          render={(ids) => (
            <input {...ids} name="value" type="password" required maxlength={10_000} autocomplete="off" />
          )}
        />
      </SheetForm>
      {of.source === "page" ? (
        <ConfirmForm
          id={`remove-${of.name.replaceAll(".", "-")}`}
          action="/admin/settings/secrets/remove"
          fields={fields}
          label="Remove"
          buttonClass="button danger small"
          title={`Remove ${of.label}?`}
          lost="What needs it stops working."
          verb="Remove the value"
        />
      ) : null}
    </div>
  );
}

/** Secrets that the page stores encrypted. */
function Secrets({ secrets }: { secrets: SecretSettingView[] }) {
  return (
    <section class="panel" id="secrets">
      <header>
        <h2>Secrets</h2>
      </header>
      <Table
        still
        label="Secrets"
        rows={secrets}
        rowId={(row) => row.name}
        columns={[
          {
            key: "name",
            label: "Setting",
            name: true,
            render: (row) => (
              <>
                <strong>{row.label}</strong>
                <span class="sub">
                  <code>{row.name}</code>
                </span>
              </>
            ),
          },
          { key: "state", label: "Value", render: (row) => <SecretState of={row} /> },
          { key: "act", label: "Actions", hideLabel: true, act: true, render: (row) => <SecretActions of={row} /> },
        ]}
      />
    </section>
  );
}

export function AdminSettingsPage(props: {
  settings: SettingRow[];
  secrets: SecretSettingView[];
  dataDir: string;
  error?: string;
}) {
  const { settings, secrets, dataDir, error } = props;
  return (
    <AdminLayout title="Settings">
      <p class="small muted">
        Change a setting in <code class="wrap-any">{dataDir}/config.json</code> or with its environment variable, then
        restart the server. A flag wins over the environment, the environment over the file, the file over what is
        stored here. Secrets in the file are in plain text; <em>Encrypt</em> stores one here and takes it out of the
        file. A setting such as <code>hub_token_file</code> names a file with the secret instead.
      </p>
      {error ? (
        <Notice kind="bad" alert>
          {error}
        </Notice>
      ) : null}
      <Secrets secrets={secrets} />
      {groupsOf(settings).map(([title, rows]) => (
        <section class="panel settings-table">
          <header>
            <h2>{title}</h2>
          </header>
          <Table
            still
            label={title}
            rows={rows}
            rowId={(row) => row.name}
            columns={[
              {
                key: "name",
                label: "Setting",
                render: (row) => (
                  <>
                    <code>{row.name}</code>
                    <span class="sub">
                      <code>{row.variable}</code>
                      <span class="narrow"> · {SOURCES[row.source]}</span>
                    </span>
                  </>
                ),
              },
              {
                key: "value",
                label: "Value",
                render: (row) =>
                  row.value === null ? (
                    <span class="muted">not set</span>
                  ) : (
                    <span class="mono wrap-any">{shownValue(row)}</span>
                  ),
              },
              {
                key: "source",
                label: "From",
                tight: true,
                wide: true,
                render: (row) =>
                  row.source === "default" ? (
                    <span class="muted">{SOURCES.default}</span>
                  ) : (
                    <span class="tag">{SOURCES[row.source]}</span>
                  ),
              },
            ]}
          />
        </section>
      ))}
    </AdminLayout>
  );
}
