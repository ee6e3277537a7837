/** Every setting of the server with its value, where that came from, and how to change it. */
import type { SettingRow } from "../../../src/insights/installation/settings.ts";
import { formatBytes } from "../../../src/lib/text/format.ts";
import { Table } from "../../parts/table.tsx";
import { AdminLayout } from "./frame.tsx";

/** Groups of settings by the start or name of each; the rest follows under the last title. */
const GROUPS: [string, RegExp][] = [
  [
    "Server",
    /^(contact_address|abuse_address|data_dir|listen|public_url|trusted_proxies|allowed_origins|log_level|database_.*)$/,
  ],
  ["Sign-in", /^(password_.*|key_.*|session_.*|require_.*|two_factor_.*|open_sign_up|terms_.*)$/],
  ["Hardware and trainer", /^(python|trainer_env|environments_dir|torch|providers|provider_settings|.*_slots)$/],
  ["Limits", /^(max_.*|quota_.*|disk_reserve_bytes|requests_per_minute)$/],
  ["Models and endpoints", /^(hub_.*|prepared_models|import_roots|idle_after_s|endpoint_queue|embedding_model)$/],
  ["Other", /./],
];
const SOURCES = {
  default: "Default",
  file: "config.json",
  environment: "Environment",
  flag: "Command line",
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

export function AdminSettingsPage({ settings, dataDir }: { settings: SettingRow[]; dataDir: string }) {
  return (
    <AdminLayout title="Settings">
      <p class="small muted">
        Change a setting in <code class="wrap-any">{dataDir}/config.json</code> or with its environment variable, then
        restart the server. A flag wins over the environment, the environment over the file.
      </p>
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
