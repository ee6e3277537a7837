/** The report of a search for a person: where they are, what was trained on it, and the erasure. */
import type { HitList, SubjectView } from "../../../src/custody/subjects/model.ts";
import { formatInteger, plural } from "../../../src/lib/text/format.ts";
import { usePage } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { ConfirmForm, SheetForm } from "../../parts/form.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { StateBadge } from "../../parts/state.tsx";
import { liveOn, Pager, Table } from "../../parts/table.tsx";
import { Progress, Stat, Stats, Time } from "../../parts/value.tsx";
import { stateOf } from "./subject-list.tsx";

interface ReportProps {
  subject: SubjectView;
  hits: HitList;
}

type Result = NonNullable<SubjectView["result"]>;

const KINDS: Record<string, string> = {
  row: "Row",
  file_line: "Line of a file",
  answer: "Evaluation answer",
  sample: "Sample of a run",
  log_line: "Log line",
  response: "Stored response",
  completion: "Stored completion",
};

function Verdict({ subject }: { subject: SubjectView }) {
  if (subject.status === "waiting" || subject.status === "running" || subject.status === "erasing")
    return (
      <Progress
        label="Searching"
        fraction={subject.status === "running" && subject.rows > 0 ? subject.rows_searched / subject.rows : null}
        left={subject.status === "erasing" ? "Erasing" : subject.status === "waiting" ? "Waiting" : "Searching"}
        right={
          subject.status === "running" && subject.rows > 0
            ? `${formatInteger(subject.rows_searched)} of ${plural(subject.rows, "row")}`
            : "Continues when you leave this page"
        }
      />
    );
  if (subject.error)
    return (
      <Notice kind="bad" title={subject.status === "failed" ? "The search failed" : "The erasure failed"}>
        {subject.error}
      </Notice>
    );
  if (subject.hits === 0)
    return (
      <Notice kind="ok" title="Nothing was found">
        {`${plural(subject.rows, "row")} of all versions, stored answers, samples and logs were searched.`}
      </Notice>
    );
  return null;
}

function Numbers({ result }: { result: Result }) {
  const { versions, models, deployments, stored } = result;
  const rows = versions.reduce((sum, one) => sum + one.rows, 0);
  return (
    <Stats>
      <Stat label="Rows" big note={`in ${plural(versions.length, "version")}`}>
        {formatInteger(rows)}
      </Stat>
      <Stat label="Models trained on them">{formatInteger(models.length)}</Stat>
      <Stat label="Endpoints">{formatInteger(deployments.length)}</Stat>
      <Stat label="Stored answers">{formatInteger(stored.responses + stored.completions)}</Stat>
      <Stat label="Answers, samples, logs of jobs">
        {formatInteger(stored.answers + stored.samples + stored.log_lines)}
      </Stat>
    </Stats>
  );
}

function Versions({ result }: { result: Result }) {
  if (result.versions.length === 0) return null;
  return (
    <section class="panel">
      <header>
        <h2>Dataset versions</h2>
      </header>
      <Table
        still
        label="Dataset versions"
        rows={result.versions}
        rowId={(one) => one.id}
        columns={[
          {
            key: "name",
            label: "Dataset",
            name: true,
            render: (one) => (
              <a href={`/datasets/${one.dataset_id}?version=${one.id}`} dir="auto">
                {one.dataset}
              </a>
            ),
          },
          {
            key: "number",
            label: "Version",
            render: (one) => `${one.number}${one.newest ? " (newest)" : ""}`,
          },
          { key: "rows", label: "Rows", end: true, render: (one) => formatInteger(one.rows) },
        ]}
      />
    </section>
  );
}

function Trained({ result }: { result: Result }) {
  const { models, jobs, deployments } = result;
  if (jobs.length === 0) return null;
  const jobOf = new Map(jobs.map((one) => [one.id, one]));
  const served = (model: string) =>
    deployments.filter((one) => one.model === model || one.model.startsWith(`${model}:`));
  return (
    <section class="panel">
      <header>
        <h2>Models trained on these rows</h2>
      </header>
      {models.length === 0 ? (
        <p class="body muted">{plural(jobs.length, "job")} used the versions; none has a model.</p>
      ) : (
        <Table
          still
          label="Models trained on these rows"
          rows={models}
          rowId={(one) => one.job_id}
          columns={[
            {
              key: "model",
              label: "Model",
              name: true,
              render: (one) => (
                <>
                  <a href={`/models/${encodeURIComponent(one.id)}`}>{one.id}</a>
                  <span class="sub">
                    <a href={`/jobs/${one.job_id}`} dir="auto">
                      {jobOf.get(one.job_id)?.name ?? one.job_id}
                    </a>
                  </span>
                  {served(one.id).map(({ id, name, state }) => (
                    <span class="sub">
                      Endpoint <a href={`/deployments/${id}`}>{name}</a> ({state})
                    </span>
                  ))}
                </>
              ),
            },
            {
              key: "act",
              label: "Actions",
              hideLabel: true,
              act: true,
              render: (one) => (
                <ConfirmForm
                  id={`model-${one.job_id}`}
                  action={`/models/${encodeURIComponent(one.id)}/delete`}
                  label="Delete"
                  buttonClass="button danger small"
                  title="Delete this model?"
                  lost="Its endpoints stop. A model keeps what it learned of a row: only deleting it, and training again without the row, removes that."
                  verb="Delete the model"
                  typeName={one.id}
                />
              ),
            },
          ]}
        />
      )}
    </section>
  );
}

function Erasure({ erasure }: { erasure: NonNullable<SubjectView["erasure"]> }) {
  const { datasets, deleted_versions: gone, kept_versions: kept, deleted } = erasure;
  const stored = Object.values(deleted).reduce((sum, one) => sum + one, 0);
  return (
    <section class="panel">
      <header>
        <h2>Erased</h2>
        <span class="small muted">
          <Time at={erasure.at * 1000} />
        </span>
      </header>
      <ul class="body stack tight">
        {datasets.map(({ id, name, rows, next_version_id: next, error }) => (
          <li>
            {error ? (
              <>
                <a href={`/datasets/${id}`}>{name}</a>: {error}
              </>
            ) : (
              <>
                <a href={`/datasets/${id}?version=${next}`}>The next version of {name}</a> is without{" "}
                {plural(rows, "row")}.
              </>
            )}
          </li>
        ))}
        {gone.length > 0 ? <li>{plural(gone.length, "earlier version")} deleted, with their files.</li> : null}
        {kept.map(({ id, reason }) => (
          <li>
            {id} was kept: {reason}
          </li>
        ))}
        {erasure.stored ? (
          <li>
            {plural(stored, "stored answer, sample or log line", "stored answers, samples and log lines")} deleted.
          </li>
        ) : null}
        <li class="muted">Backups keep the rows until you delete them.</li>
      </ul>
    </section>
  );
}

export function Hits({ hits, subject }: ReportProps) {
  const { url } = usePage();
  if (subject.status !== "done") return <section id="hits" {...liveOn(url, "subjects")} />;
  const names = new Map([
    ...(subject.result?.versions.map((one): [string, string] => [one.id, `${one.dataset}, version ${one.number}`]) ??
      []),
    ...(subject.result?.files.map((one): [string, string] => [one.id, one.filename]) ?? []),
  ]);
  return (
    <section id="hits" class="panel" aria-label="Where the person is" {...liveOn(url, "subjects")}>
      {hits.data.length === 0 ? (
        <Empty slim icon="search" title="No hits">
          Rows, answers and messages about the person would be listed here.
        </Empty>
      ) : (
        <Table
          still
          label="Where the person is"
          rows={hits.data}
          rowId={(one) => String(one.id)}
          columns={[
            { key: "kind", label: "Kind", tight: true, render: (one) => KINDS[one.kind] ?? one.kind },
            {
              key: "context",
              label: "Context, masked",
              name: true,
              render: (one) => (
                <>
                  <span class="wrap-any" dir="auto">
                    {one.context}
                  </span>
                  <span class="sub">
                    {names.get(one.of) ?? one.of}
                    {one.kind === "row" || one.kind === "file_line" ? `, line ${one.ref}` : null}
                  </span>
                </>
              ),
            },
          ]}
        />
      )}
      <Pager
        shown={hits.data.length}
        hasMore={hits.has_more}
        last={hits.last_id === null ? null : String(hits.last_id)}
        fragment="hits"
        order="data"
      />
    </section>
  );
}

function Actions({ subject }: { subject: SubjectView }) {
  const path = `/team/people/${subject.id}`;
  const done = subject.status === "done";
  return (
    <div class="row">
      {done && subject.hits > 0 ? (
        <>
          <SheetForm
            id="erase"
            action={`${path}/erase`}
            label="Erase"
            title="Erase what was found"
            verb="Erase"
            buttonClass="button danger"
          >
            <p class="muted small">
              Every dataset gets a next version without the rows. Models stay: delete them below, or train again.
            </p>
            <label class="check">
              <input type="checkbox" name="old_versions" value="yes" />
              Delete the earlier versions with the rows, and their files. Jobs that used them cannot run again.
            </label>
            <label class="check">
              <input type="checkbox" name="stored" value="yes" checked />
              Delete stored responses and completions, samples and log lines, and the texts of evaluation answers
            </label>
          </SheetForm>
          <a class="button" href={`${path}/export?format=json`} download>
            Download JSON
          </a>
          <a class="button" href={`${path}/export?format=csv`} download>
            Download CSV
          </a>
        </>
      ) : null}
      {done || subject.status === "failed" ? (
        <ConfirmForm
          id="delete-search"
          action={`${path}/delete`}
          label="Delete the report"
          title="Delete this search and its report?"
          lost="The audit log keeps that there was a search, not for whom."
          verb="Delete the report"
        />
      ) : null}
    </div>
  );
}

export function SubjectReport({ subject }: { subject: SubjectView }) {
  const { url } = usePage();
  const { result, erasure } = subject;
  return (
    <div id="report" class="stack loose" {...liveOn(url, "subjects")}>
      <Verdict subject={subject} />
      <Actions subject={subject} />
      {erasure ? <Erasure erasure={erasure} /> : null}
      {result && subject.hits > 0 ? (
        <>
          <Numbers result={result} />
          <Versions result={result} />
          <Trained result={result} />
        </>
      ) : null}
      {result?.not_searched.length ? (
        <Notice kind="warn" title={`${plural(result.not_searched.length, "file")} could not be searched`}>
          {result.not_searched
            .slice(0, 10)
            .map(({ filename }) => filename)
            .join(", ")}
        </Notice>
      ) : null}
    </div>
  );
}

export function SubjectPage(props: ReportProps) {
  const { subject } = props;
  return (
    <Layout
      title={subject.terms.join(subject.match === "all" ? " and " : ", ").slice(0, 100)}
      crumbs={[
        { label: "Team", href: "/team" },
        { label: "People", href: "/team/people" },
      ]}
      beside={<StateBadge state={stateOf(subject)} />}
      live={{ topics: ["subjects"] }}
    >
      <div class="stack loose">
        <SubjectReport {...props} />
        <Hits {...props} />
        <p class="small muted">
          The report is personal data itself. It is deleted <Time at={subject.expires_at * 1000} />.
        </p>
      </div>
    </Layout>
  );
}
