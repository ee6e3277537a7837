/** The audit log: who did what to which thing, with filters and export. */
import type { Named } from "../../../src/accounts/audit/names.ts";
import type { AuditCheck, AuditRow } from "../../../src/accounts/audit/service.ts";
import type { Listed } from "../../../src/lib/page.ts";
import { deviceName } from "../../../src/lib/text/device.ts";
import { formatExact, formatInteger, shortId } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { FilterSelect, Filters } from "../../parts/form.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { Pager, Table } from "../../parts/table.tsx";
import { Time } from "../../parts/value.tsx";
import { AdminLayout } from "./frame.tsx";

export interface AuditProps {
  rows: Listed<AuditRow>;
  names: ReadonlyMap<string, Named>;
  actions: string[];
  /** The result of a check that was just made. */
  chain: AuditCheck | null;
  /** A filter that is not usable. */
  error?: string;
}

/** `actor` or `target`: its name, else its id, linked to its page. */
function Thing({ id, names }: { id: string; names: AuditProps["names"] }) {
  const { viewer } = usePage();
  const found = names.get(id);
  // A refused request is named by its address, which is no id to shorten.
  const text = found?.name ?? (id.includes(" ") ? id : shortId(id));
  if (!found?.href || !viewer?.may("GET", found.href))
    return (
      <span class="wrap-any" title={id}>
        {text}
      </span>
    );
  return (
    <a href={found.href} title={id}>
      {text}
    </a>
  );
}

/** Facts of an entry as `name: value`, without the name of the target, which is above them. */
function Detail({ row, names }: { row: AuditRow; names: AuditProps["names"] }) {
  const text = (value: unknown): string =>
    typeof value === "string" ? value : Array.isArray(value) ? value.map(text).join(", ") : JSON.stringify(value);
  const pairs = Object.entries(row.detail)
    .filter(([, value]) => value !== names.get(row.target)?.name)
    .map(([name, value]) => {
      const known = typeof value === "string" ? names.get(value)?.name : null;
      const said =
        name === "user_agent" && typeof value === "string"
          ? deviceName(value)
          : name === "until" && typeof value === "number"
            ? formatExact(value)
            : (known ?? text(value));
      return `${name.replaceAll("_", " ")}: ${said}`;
    });
  return pairs.length > 0 ? (
    <span class="sub wrap-any" title={JSON.stringify(row.detail)}>
      {pairs.join(" · ")}
    </span>
  ) : null;
}

export function AuditList({ rows, names }: AuditProps) {
  return (
    <section id="audit" class="panel" aria-label="Audit log">
      {rows.items.length === 0 ? (
        <Empty slim icon="search" title="No entries">
          No entry matches the filters.
        </Empty>
      ) : (
        <>
          <Table
            still
            label="Audit log"
            rows={rows.items}
            rowId={(row) => row.id}
            columns={[
              { key: "at", label: "Time", tight: true, render: (row) => <Time at={row.at} /> },
              {
                key: "actor",
                label: "Actor",
                wide: true,
                extra: true,
                render: (row) => <Thing id={row.actor} names={names} />,
              },
              { key: "action", label: "Action", tight: true, wide: true, render: (row) => <code>{row.action}</code> },
              {
                key: "target",
                label: "Target",
                render: (row) => (
                  <>
                    <span class="narrow">
                      <code>{row.action}</code>{" "}
                    </span>
                    <Thing id={row.target} names={names} />
                    <Detail row={row} names={names} />
                    <span class="narrow extra">
                      <span class="sub">
                        by <Thing id={row.actor} names={names} />
                      </span>
                    </span>
                  </>
                ),
              },
            ]}
          />
          <Pager shown={rows.items.length} hasMore={rows.hasMore} last={rows.last} fragment="audit" />
        </>
      )}
    </section>
  );
}

function Verified({ chain }: Pick<AuditProps, "chain">) {
  if (!chain) return null;
  return chain.brokenAt ? (
    <Notice kind="bad" title="Integrity check failed" alert>
      Entry {chain.brokenAt} or an earlier one was changed or removed.
    </Notice>
  ) : (
    <Notice kind="ok" title={`Intact: ${formatInteger(chain.rows)} entries`} alert>
      {chain.removed > 0
        ? `${formatInteger(chain.removed)} older entries were removed by audit_retention_days. No other entry was changed or removed.`
        : "No entry was changed or removed."}
    </Notice>
  );
}

/** All actions, and each noun alone: `job.` has every action of jobs. */
function actionOptions(actions: string[]): [string, string][] {
  const nouns = Map.groupBy(actions, (action) => action.split(".")[0] ?? action);
  return [
    ["", "All actions"],
    ...[...nouns].flatMap(([noun, of]): [string, string][] => [
      ...(of.length > 1 ? [[`${noun}.`, `${noun}: all`] as [string, string]] : []),
      ...of.map((action): [string, string] => [action, action]),
    ]),
  ];
}

/** The filters of the address that are set. */
function filtersOf(url: URL): URLSearchParams {
  const given = ["actor", "action", "target", "from", "until"].flatMap((name) => {
    const value = url.searchParams.get(name);
    return value ? [[name, value]] : [];
  });
  return new URLSearchParams(given);
}

/** Links that download what the filters show. `path`: the route that exports. */
export function Downloads({ path }: { path: string }) {
  const { url } = usePage();
  return ["csv", "jsonl"].map((format) => (
    <a class="button" href={`${path}?${new URLSearchParams([["format", format], ...filtersOf(url)])}`} download>
      <Icon name="download" />
      {format.toUpperCase()}
    </a>
  ));
}

/** Filters and the list. */
export function AuditContent(props: AuditProps) {
  const { url } = usePage();
  const value = (name: string) => url.searchParams.get(name) ?? "";
  return (
    <>
      <Verified chain={props.chain} />
      {props.error ? (
        <Notice kind="bad" alert>
          {props.error}
        </Notice>
      ) : null}
      <Filters fragment="audit">
        <input
          type="search"
          name="actor"
          data-page-search
          value={value("actor")}
          placeholder="Actor: e-mail address or system"
          aria-label="Actor: e-mail address or system"
          autocomplete="off"
        />
        <FilterSelect name="action" label="Action" options={actionOptions(props.actions)} />
        <input
          type="search"
          name="target"
          value={value("target")}
          placeholder="Target: id"
          aria-label="Target: id"
          autocomplete="off"
        />
        <label class="dated">
          From <input type="date" name="from" value={value("from")} />
        </label>
        <label class="dated">
          to <input type="date" name="until" value={value("until")} />
        </label>
      </Filters>
      <AuditList {...props} />
    </>
  );
}

export function AuditPage(props: AuditProps) {
  return (
    <AdminLayout
      title="Audit log"
      actions={
        <>
          <a class="button" href="/admin/audit?verify=yes" title="Each entry has the hash of the previous entry">
            Verify log integrity
          </a>
          <a class="button" href="/admin/audit/forwarding">
            Forwarding
          </a>
          <Downloads path="/v1/admin/audit/export" />
        </>
      }
    >
      <AuditContent {...props} />
    </AdminLayout>
  );
}
