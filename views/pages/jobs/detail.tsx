/** `/jobs/:id`: state and curves first, then samples, checkpoints, settings and log. */

import type { MaxCost } from "../../../src/billing/budgets/max-cost.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import type { LogReply, Sample, SeriesReply } from "../../../src/training/metrics/model.ts";
import { Layout } from "../../layout.tsx";
import { Chart, type ChartSeries } from "../../parts/chart.tsx";
import { JobAbout, JobMetricsFiles } from "./about.tsx";
import { JobCostLimit } from "./cost-limit.tsx";
import { isLive, methodOf } from "./describe.ts";
import { type CheckpointRow, JobCheckpoints, JobSamples } from "./evidence.tsx";
import { JobHistory } from "./history.tsx";
import { JobLog } from "./log.tsx";
import { JobOutcome } from "./outcome.tsx";
import { Attempts, JobSpecPanel } from "./spec.tsx";
import { JobActions, JobBadge, JobStatus } from "./status.tsx";
import type { JobUpdateProps } from "./update.tsx";
import { JobUse } from "./use.tsx";

interface JobPageProps extends JobUpdateProps {
  /** Name of who created it. */
  creator: string | null;
  /** Null = no limit. */
  maxCost: MaxCost | null;
  checkpoints: CheckpointRow[];
  samples: Sample[];
  log: LogReply;
  logSearch: string;
  series: SeriesReply;
}

interface SmallChart {
  key: string;
  title: string;
  unit: string;
  /** Further series in the same chart. */
  also?: [key: string, label: string, color: ChartSeries["color"]][];
  label?: string;
}

const withEval = (key: string): Pick<SmallChart, "also"> => ({ also: [[key, "Validation", 2]] });
/** Charts of the learning progress, by method. */
const ACCURACY: SmallChart[] = [
  { key: "train/token_accuracy", title: "Token accuracy", unit: "percent", ...withEval("eval/token_accuracy") },
];
const PREFERRED: SmallChart = {
  key: "train/reward_accuracy",
  title: "Preference accuracy",
  unit: "percent",
  ...withEval("eval/reward_accuracy"),
};
const REWARDS: SmallChart[] = [
  { key: "train/reward_margin", title: "Reward margin", unit: "number", ...withEval("eval/reward_margin") },
  {
    key: "train/reward_chosen",
    title: "Rewards",
    unit: "number",
    label: "Preferred",
    also: [["train/reward_rejected", "Non-preferred", 3]],
  },
];
const GRADED: SmallChart[] = [
  { key: "train/reward_std", title: "Reward standard deviation", unit: "number" },
  { key: "train/loss", title: "Loss", unit: "number" },
  { key: "train/kl", title: "KL divergence from the reference model", unit: "number" },
  { key: "train/completion_length", title: "Completion length", unit: "number", ...withEval("eval/completion_length") },
  { key: "train/completions_cut", title: "Truncated completions", unit: "percent" },
  { key: "train/groups_alike", title: "Prompts with equal rewards", unit: "percent" },
  {
    key: "train/grader_errors",
    title: "Grader errors",
    unit: "percent",
    ...withEval("eval/grader_errors"),
  },
];
const COMMON: SmallChart[] = [
  { key: "train/learning_rate", title: "Learning rate", unit: "rate" },
  { key: "train/grad_norm", title: "Gradient norm", unit: "number" },
  { key: "perf/tokens_per_second", title: "Tokens per second", unit: "number" },
  { key: "system/memory_mb", title: "Memory", unit: "megabytes" },
  { key: "system/cpu_percent", title: "CPU", unit: "hundredths" },
];

function smallOf(job: JobRow): SmallChart[] {
  const method = methodOf(job);
  if (method === null || method === "sft" || method === "pretrain") return [...ACCURACY, ...COMMON];
  if (method === "grpo") return [...GRADED, ...COMMON];
  // Unpaired data has no second answer to compare with.
  return [...(method === "kto" ? [] : [PREFERRED]), ...REWARDS, ...COMMON];
}

/** Charts of further series, such as `system/gpu_0_memory_mb`. */
function extra(series: SeriesReply, small: SmallChart[]): SmallChart[] {
  const drawn = small.flatMap(({ key, also }) => [key, ...(also ?? []).map(([other]) => other)]);
  const known = new Set([
    "train/loss",
    "eval/loss",
    "train/reward",
    "eval/reward",
    "train/entropy",
    "perf/step_seconds",
    "eval/reward_chosen",
    "eval/reward_rejected",
  ]);
  return Object.keys(series.series)
    .filter((key) => !known.has(key) && !drawn.includes(key))
    .slice(0, 8)
    .map((key) => ({ key, title: key, unit: key.endsWith("_mb") ? "megabytes" : "number" }));
}

/** The charts of a training: a large one, and small ones for the other metrics. */
function curvesOf(job: JobRow, series: SeriesReply) {
  const src = `/v1/jobs/${encodeURIComponent(job.id)}/metrics`;
  const live = isLive(job.state) || job.state === "paused" ? job.id : undefined;
  const small = smallOf(job);
  // GRPO's loss stays around zero and carries no information.
  const figure = methodOf(job) === "grpo" ? "reward" : "loss";
  const line = (key: string, label: string, color: ChartSeries["color"]): ChartSeries => ({
    key,
    label,
    color,
    job: live,
    points: series.series[key]?.points,
  });
  const large = (
    <div class="panel body-only main-chart">
      <Chart
        id="chart-loss"
        title={figure === "loss" ? "Loss" : "Reward"}
        src={src}
        unit={figure === "loss" ? undefined : "number"}
        series={[line(`train/${figure}`, "Training", 1), line(`eval/${figure}`, "Validation", 2)]}
      />
    </div>
  );
  const others = (
    <div class="small-charts">
      {[...small, ...extra(series, small)].map((one) => (
        <div class="panel body-only">
          <Chart
            id={`chart-${one.key.replace(/[^a-z0-9]+/g, "-")}`}
            title={one.title}
            src={src}
            unit={one.unit}
            small
            series={[line(one.key, one.label ?? "Training", 1), ...(one.also ?? []).map((other) => line(...other))]}
          />
        </div>
      ))}
    </div>
  );
  return { large, others };
}

export function JobPage(props: JobPageProps) {
  const { job, series } = props;
  const active = isLive(job.state);
  const curves = job.kind === "train" ? curvesOf(job, series) : null;
  return (
    <Layout
      title={job.name}
      wide
      crumbs={[{ label: "Jobs", href: "/jobs" }]}
      beside={<JobBadge job={job} />}
      creator={props.creator}
      actions={<JobActions {...props} />}
      live={{ jobs: [job.id], topics: job.kind === "train" ? ["jobs"] : undefined, after: series.batchId }}
    >
      <div class="stack">
        <JobStatus {...props} />
        <div class="job-columns">
          <div class="stack">
            {curves?.large}
            {job.kind === "train" ? null : <JobOutcome {...props} />}
            {job.kind === "train" ? <JobSamples job={job} samples={props.samples} active={active} /> : null}
            <JobHistory history={props.history} />
            <JobLog jobId={job.id} log={props.log} search={props.logSearch} active={active} />
          </div>
          <div class="stack">
            {job.kind === "train" ? <JobOutcome {...props} /> : null}
            {curves?.others}
            {job.kind === "train" ? <JobCheckpoints job={job} checkpoints={props.checkpoints} active={active} /> : null}
            <JobSpecPanel {...props} />
            <Attempts attempts={props.attempts} />
            <JobUse usage={props.usage} energy={props.energy} />
            {job.kind === "train" ? <JobMetricsFiles job={job} /> : null}
            <JobCostLimit job={job} max={props.maxCost} />
            <JobAbout job={job} />
          </div>
        </div>
      </div>
    </Layout>
  );
}
