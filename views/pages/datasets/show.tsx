/** The page of one dataset: validation result, rows, versions, and the jobs that use it. */
import type { RestrictionRow } from "../../../src/accounts/restrictions/service.ts";
import type { PiiView } from "../../../src/data/privacy/model.ts";
import type { Report } from "../../../src/data/validation/rows/report.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { RoleLink } from "../../parts/allowed.tsx";
import { Barred } from "../../parts/barred.tsx";
import { ActionButton, ConfirmForm } from "../../parts/form.tsx";
import { Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn } from "../../parts/table.tsx";
import { CopyId, Progress, Stat, Stats } from "../../parts/value.tsx";
import { ChangeDataset, DatasetHistory, type HistoryProps } from "./history.tsx";
import { MappingPanel, type MappingProps } from "./mapping.tsx";
import { Offers } from "./offers.tsx";
import { PersonalDataPanel } from "./personal-data.tsx";
import { Problems } from "./problems.tsx";
import { BaseFindings, type CountedTokens, Facts, Histogram, Tokens } from "./report.tsx";
import { methodsFor, stateOf, TypeBadge } from "./row-type.tsx";
import { DatasetRows, type RowsShown } from "./rows.tsx";
import { SkipBad } from "./skip-bad.tsx";
import { StaysBadge } from "./stays-local.tsx";

export interface DatasetProps extends HistoryProps {
  report: Report | null;
  tokens: CountedTokens | null;
  /** The reason for missing token counts: a sentence, or `no_base_model`. */
  uncounted: string | null;
  rows: RowsShown | null;
  /** Why the version may not be used; null = it may. */
  barred: RestrictionRow | null;
  /** The form, when the version waits for its mapping. */
  mapping: MappingProps | null;
  /** What was found of personal data, when the version is ready. */
  pii: PiiView | null;
  /** Name of who created the dataset. */
  creator: string | null;
}

/** The newest version is shown, so its rows can be edited. */
export const isNewest = ({ version, versions }: HistoryProps) => versions[0]?.id === version.id;

function verdict({
  version,
  report,
}: Pick<DatasetProps, "version" | "report">): ["ok" | "warn" | "bad" | "info", string, string] {
  if (version.status === "validating")
    return ["info", "Validating", "Every row is checked. All problems appear here at the end."];
  if (version.status === "needs_mapping")
    return ["warn", "Mapping needed", report?.mapping?.reason || "Choose below what the fields are used for."];
  if (version.status === "failed") {
    const bad = version.bad_rows;
    if (!bad) return ["bad", "This file cannot be used", version.error ?? ""];
    const all = bad + (report?.rows ?? 0);
    return [
      "warn",
      `Needs attention: ${formatInteger(bad)} of ${plural(all, "row")}`,
      "Edit the rows listed below, upload a corrected file, or leave them out.",
    ];
  }
  const warnings = report?.problems.filter((problem) => problem.severity === "warning").length ?? 0;
  const rows = `${plural(version.train_rows, "training row")}, ${plural(version.holdout_rows, "validation row")}.`;
  const fit = `Supports ${methodsFor(version.row_type)}.`;
  return ["ok", warnings ? `Ready, with ${plural(warnings, "warning")}` : "Ready", `${rows} ${fit}`];
}

export function DatasetState(props: DatasetProps) {
  const { url } = usePage();
  const { version, report, tokens } = props;
  const [kind, title, words] = verdict(props);
  return (
    <div id="state" class="stack" {...liveOn(url, "datasets")}>
      <Barred of={props.barred} />
      <Notice kind={kind} title={title}>
        {words ? <span class="wrap-any">{words}</span> : null}
      </Notice>
      {version.status === "validating" ? (
        <Progress
          label="Validating the file"
          fraction={version.progress}
          left="Validating"
          right="Continues when you leave this page"
        />
      ) : null}
      <SkipBad version={version} report={report} />
      {report && version.status !== "needs_mapping" ? (
        <Stats>
          <Stat label={version.status === "ready" ? "Rows" : "Good rows"} big>
            {formatInteger(version.rows || report.rows)}
          </Stat>
          {version.status === "ready" ? (
            <>
              <Stat label={tokens?.stats.exact === false ? "Tokens, estimated" : "Tokens"} note={tokens?.baseModel}>
                {tokens ? formatInteger(tokens.stats.tokens) : "–"}
              </Stat>
              <Stat label="Training rows">{formatInteger(version.train_rows)}</Stat>
              <Stat label="Validation rows">{formatInteger(version.holdout_rows)}</Stat>
            </>
          ) : null}
          <Stat label={report.bad_rows_left_out ? "Bad rows left out" : "Bad rows"}>
            {formatInteger(report.bad_rows)}
          </Stat>
          {report.duplicates.removed ? (
            <Stat label="Duplicates removed">{formatInteger(report.duplicates.removed)}</Stat>
          ) : (
            <Stat
              label="Duplicate rows"
              note={report.duplicates.near ? `${formatInteger(report.duplicates.near)} near` : undefined}
            >
              {formatInteger(report.duplicates.rows)}
            </Stat>
          )}
        </Stats>
      ) : null}
    </div>
  );
}

/** The badge next to the title. It is updated when validation ends. */
export function DatasetBadge({ dataset, version }: Pick<DatasetProps, "dataset" | "version">) {
  return (
    <span id="badge" class="row">
      <StateBadge state={stateOf(version)} />
      {version.status === "ready" ? <TypeBadge type={version.row_type} /> : null}
      <StaysBadge stays={dataset.staysLocal} />
    </span>
  );
}

/** The next steps for a ready version. */
export function DatasetNext({ version, barred }: Pick<DatasetProps, "version" | "barred">) {
  return (
    <div id="next">
      {version.status === "ready" ? (
        <div class="row">
          <a class="button" href={`/datasets/${version.dataset_id}/seen?version=${version.id}`}>
            What the model sees
          </a>
          {barred ? null : (
            <>
              <RoleLink class="button" href={`/evaluations/new?dataset=${version.id}`}>
                Evaluate
              </RoleLink>
              <RoleLink class="button primary" href={`/jobs/new?data=${version.id}`}>
                Fine-tune
              </RoleLink>
            </>
          )}
        </div>
      ) : null}
    </div>
  );
}

/** Explains why tokens are not counted, and what to do about it. */
function Uncounted({ reason }: { reason: string }) {
  const none = reason === "no_base_model";
  return (
    <Notice kind={none ? "info" : "warn"} title="Tokens are not counted">
      <p>
        {none
          ? "Counting needs the tokenizer of a base model, and none is installed."
          : reason.replace(/[^.!?]$/, "$&.")}{" "}
        Lengths are shown in characters.
      </p>
      <p>
        <a href="/models?tab=base">{none ? "Install a base model" : "See the base models"}</a>
      </p>
    </Notice>
  );
}

/** The validation report. It appears when validation ends. */
export function DatasetFindings(props: DatasetProps) {
  const { report, tokens, uncounted, version } = props;
  return (
    <div id="findings" class="stack loose">
      {version.status === "validating" ? null : <Offers {...props} />}
      {props.mapping ? (
        // A form that the user fills in is not refreshed.
        <div id="mapping-form" hx-morph-skip>
          <MappingPanel {...props.mapping} />
        </div>
      ) : null}
      {version.status === "needs_mapping" && !props.mapping ? (
        <div class="row">
          <ActionButton action={`/datasets/${version.dataset_id}/versions`} class="primary">
            Look at the fields again
          </ActionButton>
          <span class="small muted">An earlier release has looked at the fields of this file.</span>
        </div>
      ) : null}
      <Problems version={version} report={report} editable={isNewest(props)} />
      <PersonalDataPanel pii={props.pii} />
      {tokens ? <BaseFindings {...tokens} /> : null}
      {report && report.rows > 0 ? (
        <div class="columns">
          <section class="panel">
            <header>
              <h2>Contents</h2>
            </header>
            <div class="body">
              <Facts report={report} />
            </div>
          </section>
          <section class="panel">
            <header>
              <h2>{tokens ? "Tokens" : "Length"}</h2>
            </header>
            <div class="body">
              {tokens ? (
                <Tokens stats={tokens.stats} baseModel={tokens.baseModel} type={version.row_type} />
              ) : (
                <div class="stack">
                  {uncounted ? <Uncounted reason={uncounted} /> : null}
                  <Histogram title="Characters" unit="characters" buckets={report.characters.histogram} />
                </div>
              )}
            </div>
          </section>
        </div>
      ) : null}
    </div>
  );
}

export function DatasetPage(props: DatasetProps) {
  const { dataset, version } = props;
  return (
    <Layout
      title={dataset.name}
      crumbs={[{ label: "Datasets", href: "/datasets" }]}
      beside={<DatasetBadge {...props} />}
      creator={props.creator}
      actions={<DatasetNext {...props} />}
      live={{ topics: ["datasets"] }}
    >
      <div class="stack loose">
        <DatasetState {...props} />
        <DatasetFindings {...props} />
        <DatasetHistory {...props} />
        <DatasetRows {...props} editable={isNewest(props)} />
        <ChangeDataset {...props} />
        <div class="row between">
          <span class="small muted">
            ID <CopyId id={dataset.id} full /> · version <CopyId id={version.id} full />
            {version.file_id ? (
              <>
                {" · "}file <CopyId id={version.file_id} full />
              </>
            ) : null}
          </span>
          <ConfirmForm
            id="delete-dataset"
            action={`/datasets/${dataset.id}/delete`}
            owner={dataset.createdBy}
            label="Delete this dataset"
            buttonClass="button danger"
            title="Delete this dataset?"
            lost="The file, all versions, and the samples, answers and logs of jobs that used it are deleted. These jobs keep their models and losses, but cannot run again. Backups keep the rows until you delete them."
            verb="Delete the dataset"
            typeName={dataset.name}
          />
        </div>
      </div>
    </Layout>
  );
}
