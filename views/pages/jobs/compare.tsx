/**
 * `/jobs/compare?ids=`: training runs side by side: verdict, curves, answers, settings, time and cost. Runs are added
 * and removed on the page.
 */
import { usePage, withQuery } from "../../context.ts";
import { Layout } from "../../layout.tsx";
import { Chart, type ChartSeries } from "../../parts/chart.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Empty, Notice } from "../../parts/notice.tsx";
import { stateWord } from "../../parts/state.tsx";
import { CompareAnswers } from "./compare-answers.tsx";
import { type ComparedRun, type CompareProps, colorOf } from "./compare-page-data.ts";
import { Outcomes, Settings } from "./compare-tables.tsx";
import { isLive } from "./describe.ts";

/** Choices of the horizontal axis, by the value of `?x=`; absent = step. */
const AXES = { step: "Step", tokens: "Tokens", time: "Time" } as const;
type Axis = keyof typeof AXES;

/** The address of this comparison with other runs. */
const withRuns = (url: URL, runs: ComparedRun[]) =>
  withQuery(url, { ids: runs.map(({ job }) => job.id).join(","), range: null });

function AxisChoice({ axis }: { axis: Axis }) {
  const { url } = usePage();
  return (
    <nav class="segments" aria-label="Horizontal axis">
      {(Object.keys(AXES) as Axis[]).map((key) => (
        <a
          href={withQuery(url, { x: key === "step" ? null : key, range: null })}
          aria-current={key === axis ? "true" : undefined}
        >
          {AXES[key]}
        </a>
      ))}
    </nav>
  );
}

/** The compared runs with a button to remove each, and a form that adds a recent run. */
function Runs({ runs, more }: Pick<CompareProps, "runs" | "more">) {
  const { url } = usePage();
  const kept = [...url.searchParams].filter(([name]) => !["ids", "after", "range"].includes(name));
  return (
    <section class="compared" aria-label="Compared runs">
      {runs.map(({ job }, place) => (
        <span class="tag compared-run">
          <span class={`swatch series-${colorOf(place)}`} aria-hidden="true" />
          <a class="clip" href={`/jobs/${encodeURIComponent(job.id)}`} title={job.name} dir="auto">
            {job.name}
          </a>
          <a
            class="button plain small icon-only"
            href={withRuns(
              url,
              runs.filter((run) => run.job !== job),
            )}
            title="Remove from the comparison"
          >
            <Icon name="x" />
            <span class="visually-hidden">Remove {job.name} from the comparison</span>
          </a>
        </span>
      ))}
      {more.length ? (
        <form class="row" method="get" action={url.pathname}>
          {runs.map(({ job }) => (
            <input type="hidden" name="ids" value={job.id} />
          ))}
          {kept.map(([name, value]) => (
            <input type="hidden" name={name} value={value} />
          ))}
          <select name="ids" aria-label="Run to add" required>
            <option value="">Add a recent run</option>
            {more.map((job) => (
              <option value={job.id}>{`${job.name} (${stateWord(job.state)})`}</option>
            ))}
          </select>
          <button class="button small" type="submit">
            <Icon name="plus" />
            Add
          </button>
        </form>
      ) : null}
    </section>
  );
}

function Overlay({
  runs,
  metric,
  title,
  unit,
  small,
  axis,
}: {
  runs: ComparedRun[];
  axis: Axis;
  metric: string;
  title: string;
  unit?: string;
  small?: boolean;
}) {
  const series: ChartSeries[] = runs.map(({ job, series: found }, index) => ({
    key: metric,
    label: job.name,
    color: colorOf(index),
    src: `/v1/jobs/${encodeURIComponent(job.id)}/metrics`,
    job: isLive(job.state) ? job.id : undefined,
    points: found.series[metric]?.points,
  }));
  return (
    <div class="panel body-only">
      <Chart
        id={`compare-${metric.replace(/[^a-z0-9]+/g, "-")}`}
        title={title}
        src={series[0]?.src ?? ""}
        series={series}
        unit={unit}
        small={small}
        by={axis === "step" ? undefined : axis}
      />
    </div>
  );
}

export function ComparePage({ runs, note, verdict, answers, more }: CompareProps) {
  const { url } = usePage();
  const asked = url.searchParams.get("x");
  const axis: Axis = asked === "tokens" || asked === "time" ? asked : "step";
  const live = runs.filter(({ job }) => isLive(job.state)).map(({ job }) => job.id);
  const batches = runs.map((run) => run.series.batchId);
  return (
    <Layout
      title={runs.length ? `Comparing ${runs.length} runs` : "Compare runs"}
      wide
      crumbs={[{ label: "Jobs", href: "/jobs" }]}
      live={live.length ? { jobs: live, after: Math.min(...batches) } : undefined}
    >
      <div class="stack">
        {note ? <Notice kind="warn">{note}</Notice> : null}
        {runs.length ? <Runs runs={runs} more={more} /> : null}
        {verdict ? <p class="verdict">{verdict}</p> : null}
        {runs.length ? (
          <>
            <div class="row between">
              <span class="muted small">
                {axis === "time" ? "Time of training steps, without evaluation, saving and waiting" : null}
                {axis === "tokens" ? "Tokens trained on, without padding" : null}
              </span>
              <AxisChoice axis={axis} />
            </div>
            <div class="curves">
              <Overlay runs={runs} axis={axis} metric="train/loss" title="Training loss" />
              <div class="small-charts">
                <Overlay runs={runs} axis={axis} metric="eval/loss" title="Validation loss" small />
                <Overlay
                  runs={runs}
                  axis={axis}
                  metric="eval/token_accuracy"
                  title="Validation token accuracy"
                  unit="percent"
                  small
                />
                <Overlay runs={runs} axis={axis} metric="train/learning_rate" title="Learning rate" unit="rate" small />
                <Overlay runs={runs} axis={axis} metric="perf/tokens_per_second" title="Tokens per second" small />
              </div>
            </div>
            <Outcomes runs={runs} />
            <Settings runs={runs} />
            <CompareAnswers runs={runs} answers={answers} />
          </>
        ) : (
          <>
            <Runs runs={runs} more={more} />
            <Empty
              icon="compare"
              title="Choose runs to compare"
              action={
                <a class="button primary" href="/jobs?kind=train">
                  Choose training jobs
                </a>
              }
            >
              Add runs here, or select two or more training jobs in the list and press “Compare”.
            </Empty>
          </>
        )}
      </div>
    </Layout>
  );
}
