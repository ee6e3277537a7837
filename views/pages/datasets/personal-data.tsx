/** Personal data in a version: the panel on the page of its dataset, and the page with rows and decisions. */
import type { FoundRowList, PiiView } from "../../../src/data/privacy/model.ts";
import type { VersionRow } from "../../../src/data/validation/model.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Allowed } from "../../parts/allowed.tsx";
import { ActionButton, Field, FilterSelect, Filters, SheetForm } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { liveOn, Pager, Table } from "../../parts/table.tsx";
import { Progress, Time } from "../../parts/value.tsx";

interface PersonalDataProps {
  dataset: { id: string; name: string; createdBy: string };
  version: Pick<VersionRow, "id" | "number">;
  pii: PiiView;
  rows: FoundRowList;
  newest: boolean;
}

const VERBS = { accept: "Accepted", leave_out: "Left out", mask: "Masked" } as const;

function Decided({ pii }: { pii: PiiView }) {
  const { decision, dataset_id: id } = pii;
  if (!decision) return null;
  return (
    <Notice kind="info" title={`${VERBS[decision.decision]} by ${decision.by_name}`}>
      <span>
        <Time at={decision.at * 1000} />
        {decision.reason ? `: ${decision.reason}` : ""}
        {decision.next_version_id ? (
          <>
            {" · "}
            <a href={`/datasets/${id}?version=${decision.next_version_id}`}>The version without these values</a>
          </>
        ) : null}
      </span>
    </Notice>
  );
}

function Kinds({ pii }: { pii: PiiView }) {
  return (
    <ul class="row">
      {pii.counts.map(({ kind, name, count }) => (
        <li>
          <a class="tag" href={pathOf(pii, kind)}>
            {name}: {formatInteger(count)}
          </a>
        </li>
      ))}
    </ul>
  );
}

const pathOf = (pii: PiiView, kind = "") =>
  `/datasets/${pii.dataset_id}/personal-data?version=${pii.version_id}${kind && `&kind=${kind}`}`;

function Verdict({ pii }: { pii: PiiView }) {
  const share = pii.rows > 0 ? pii.rows_scanned / pii.rows : null;
  if (pii.status === "off")
    return <p class="muted">This installation does not look for personal data (setting pii_scan).</p>;
  if (pii.status === "waiting" || pii.status === "running")
    return (
      <Progress
        label="Looking for personal data"
        fraction={pii.status === "running" ? share : null}
        left={pii.status === "running" ? "Looking through the rows" : "Waiting"}
        right={`${formatInteger(pii.rows_scanned)} of ${plural(pii.rows, "row")}`}
      />
    );
  if (pii.status === "failed")
    return (
      <Notice kind="warn" title="The scan failed">
        {pii.error}
      </Notice>
    );
  if (pii.rows_with_findings === 0)
    return <p class="muted">Nothing was found: no addresses, numbers of people, cards, or keys.</p>;
  return (
    <>
      <p>
        <strong>
          {formatInteger(pii.rows_with_findings)} of {plural(pii.rows, "row")}
        </strong>{" "}
        {pii.rows_with_findings === 1 ? "has" : "have"} personal data or secrets.
        {pii.pii_policy === "require_decision" && !pii.decision
          ? " Jobs cannot use this version until somebody decides."
          : ""}
      </p>
      <Kinds pii={pii} />
    </>
  );
}

/** The panel on the page of the dataset. */
export function PersonalDataPanel({ pii }: { pii: PiiView | null }) {
  if (!pii || pii.status === "off") return null;
  return (
    <section class="panel" aria-labelledby="personal-data-title">
      <header>
        <h2 id="personal-data-title">Personal data</h2>
        {pii.rows_with_findings > 0 || pii.status === "failed" ? (
          <a class="button small" href={pathOf(pii)}>
            {pii.decision || pii.status === "failed" ? "See" : "See and decide"}
          </a>
        ) : null}
      </header>
      <div class="body stack">
        <Verdict pii={pii} />
        <Decided pii={pii} />
      </div>
    </section>
  );
}

function KindChoice({ pii, id }: { pii: PiiView; id: string }) {
  if (pii.counts.length < 2) return null;
  return (
    <fieldset class="field">
      <legend>Kinds</legend>
      {pii.counts.map(({ kind, name, count }) => (
        <label class="check" for={`${id}-${kind}`}>
          <input id={`${id}-${kind}`} type="checkbox" name="kinds" value={kind} checked />
          {name} ({formatInteger(count)})
        </label>
      ))}
    </fieldset>
  );
}

function Decisions({ pii, newest, dataset, version }: PersonalDataProps) {
  const action = `/datasets/${dataset.id}/personal-data`;
  const hidden = (decision: string) => (
    <>
      <input type="hidden" name="version" value={version.id} />
      <input type="hidden" name="decision" value={decision} />
    </>
  );
  return (
    <div class="row">
      {newest && pii.status === "done" && pii.rows_with_findings > 0 ? (
        <>
          <SheetForm
            id="mask"
            action={action}
            label="Mask the values"
            title="Mask the values"
            verb="Create the version"
          >
            {hidden("mask")}
            <p class="muted small">
              Creates the next version, with the found values replaced. This version does not change.
            </p>
            <Field
              id="mask-style"
              label="Replace with"
              render={(ids) => (
                <select name="style" {...ids}>
                  <option value="mark">a mark: [EMAIL]</option>
                  <option value="partial">a part of the value: j***@e***.com</option>
                </select>
              )}
            />
            <KindChoice pii={pii} id="mask" />
          </SheetForm>
          <SheetForm
            id="leave-out"
            action={action}
            label="Leave the rows out"
            title="Leave the rows out"
            verb="Create the version"
            buttonClass="button"
          >
            {hidden("leave_out")}
            <p class="muted small">Creates the next version, without the rows. This version does not change.</p>
            <KindChoice pii={pii} id="leave" />
          </SheetForm>
        </>
      ) : null}
      {pii.status === "failed" || pii.rows_with_findings > 0 ? (
        <Allowed path={action} owner={dataset.createdBy}>
          <SheetForm
            id="accept"
            action={action}
            label="Accept"
            title={`Accept version ${version.number} as it is`}
            verb="Accept in my name"
            buttonClass="button"
          >
            {hidden("accept")}
            <p class="muted small">Your name, the reason and the time are recorded in the audit log.</p>
            <Field
              id="accept-reason"
              label="Reason"
              render={(ids) => (
                <textarea
                  name="reason"
                  rows={3}
                  required
                  maxlength={1000}
                  placeholder="The people in it are made up"
                  {...ids}
                />
              )}
            />
          </SheetForm>
        </Allowed>
      ) : null}
      {pii.status === "failed" || pii.status === "done" ? (
        <ActionButton action={`${action}/scan`} fields={{ version: version.id }}>
          Scan again
        </ActionButton>
      ) : null}
    </div>
  );
}

function Line({ id, of }: { id: number; of: string | null }) {
  const shown = formatInteger(id);
  return of ? <a href={`/datasets/${of}/rows/${id}`}>{shown}</a> : <span>{shown}</span>;
}

export function FoundRows({ pii, rows, newest }: Pick<PersonalDataProps, "pii" | "rows" | "newest">) {
  const { url } = usePage();
  const found = rows.data.flatMap(({ id, findings }) => findings.map((one, index) => ({ id, index, ...one })));
  const names = new Map(pii.counts.map(({ kind, name }) => [kind, name]));
  return (
    <section id="found" class="panel" aria-label="Rows with personal data" {...liveOn(url, "datasets")}>
      {found.length === 0 ? (
        <Empty slim icon="search" title="No rows">
          {url.searchParams.get("kind")
            ? "No row has findings of this kind."
            : "Rows with personal data or secrets would be listed here, with their values masked."}
        </Empty>
      ) : (
        <Table
          still
          label="Rows with personal data"
          rows={found}
          rowId={(one) => `${one.id}-${one.index}`}
          columns={[
            {
              key: "line",
              label: "Line",
              end: true,
              tight: true,
              render: (one) => <Line id={one.id} of={newest ? pii.dataset_id : null} />,
            },
            { key: "kind", label: "Kind", tight: true, render: (one) => names.get(one.kind) ?? one.kind },
            { key: "value", label: "Value, masked", name: true, render: (one) => <code dir="auto">{one.value}</code> },
            { key: "path", label: "Field", wide: true, tight: true, render: (one) => <code>{one.path}</code> },
            {
              key: "confidence",
              label: "Confidence",
              wide: true,
              extra: true,
              end: true,
              tight: true,
              render: (one) => `${Math.round(one.confidence * 100)}%`,
            },
          ]}
        />
      )}
      <Pager
        shown={rows.data.length}
        hasMore={rows.has_more}
        last={rows.last_id === null ? null : String(rows.last_id)}
        fragment="found"
        order="data"
      />
    </section>
  );
}

export function PersonalDataPage(props: PersonalDataProps) {
  const { dataset, version, pii } = props;
  return (
    <Layout
      title={`Personal data in version ${version.number}`}
      crumbs={[
        { label: "Datasets", href: "/datasets" },
        { label: dataset.name, href: `/datasets/${dataset.id}?version=${version.id}` },
      ]}
      live={{ topics: ["datasets"] }}
    >
      <div class="stack loose">
        <div class="stack">
          <Verdict pii={pii} />
          <Decided pii={pii} />
        </div>
        <Decisions {...props} />
        <div class="stack">
          <Filters fragment="found" kept={["version"]}>
            <FilterSelect
              name="kind"
              label="Kind"
              options={[["", "all kinds"], ...pii.counts.map(({ kind, name }): [string, string] => [kind, name])]}
            />
          </Filters>
          <FoundRows {...props} />
        </div>
        <p class="small muted">
          Values are found by their form and check digits{pii.engine.endsWith("presidio") ? ", and by Presidio" : ""}.
          Names of people are found only with Presidio. To use it, an administrator installs presidio-analyzer in a
          Python environment and sets presidio_python to it.
        </p>
      </div>
    </Layout>
  );
}
