/** `job mlflow`: copies the settings and metrics of a job to an MLflow tracking server, with its REST API. */
import * as v from "valibot";
import { clientEnvironment } from "../../config.ts";
import { isFinal } from "../../contract/job.ts";
import { AppError } from "../../errors.ts";
import { formatInteger } from "../../lib/text/format.ts";
import type { JobView } from "../../training/jobs/model.ts";
import { EXIT, UsageError, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { connect, SERVER_OPTIONS, serverUrl } from "./connection.ts";
import { print, printJson } from "./output.ts";
import { idOf } from "./resources.ts";

/** MLflow's limits of one request. */
const MOST_METRICS = 1000;
const MOST_PARAMS = 100;
const MOST_CHARACTERS = 6000;
/** The tag by which a job's run is found. */
const TAG = "finetune_lab.job";
const STATUS: Record<string, string> = { succeeded: "FINISHED", failed: "FAILED", cancelled: "KILLED" };

interface Metric {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}

const Experiment = v.object({ experiment: v.object({ experiment_id: v.string() }) });
const Created = v.object({ experiment_id: v.string() });
const Run = v.object({ run: v.object({ info: v.object({ run_id: v.string() }) }) });
const Runs = v.object({ runs: v.optional(v.array(Run.entries.run), []) });

/** One call of the tracking server. @returns the answer, or null when it does not know what is asked for */
async function mlflow<T extends v.GenericSchema>(
  url: string,
  path: string,
  body: object | null,
  schema: T,
): Promise<v.InferOutput<T> | null> {
  const { mlflowAuthorization: authorization } = clientEnvironment();
  const headers = { "content-type": "application/json", ...(authorization ? { authorization } : {}) };
  const given = body === null ? { method: "GET" } : { method: "POST", body: JSON.stringify(body) };
  let answer: Response;
  try {
    answer = await fetch(`${url}/api/2.0/mlflow/${path}`, { ...given, headers });
  } catch (cause) {
    throw new AppError("unavailable", "mlflow_unreachable", `${url} does not answer. Check the address.`, { cause });
  }
  const text = await answer.text();
  if (answer.status === 404 && text.includes("RESOURCE_DOES_NOT_EXIST")) return null;
  const parsed = answer.ok ? v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text) : null;
  if (parsed?.success) return parsed.output;
  const why = answer.ok ? "an answer that is not MLflow's" : `${answer.status}: ${text.slice(0, 300)}`;
  throw new AppError("unavailable", "mlflow_refused", `MLflow at ${url} answered ${path} with ${why}`);
}

async function mustCall<T extends v.GenericSchema>(url: string, path: string, body: object, schema: T) {
  const answer = await mlflow(url, path, body, schema);
  if (answer === null) throw new AppError("not_found", "mlflow_refused", `MLflow at ${url} does not know ${path}.`);
  return answer;
}

/** The id of the experiment with this name; it is created first when MLflow does not know it. */
async function experimentId(url: string, name: string): Promise<string> {
  const query = new URLSearchParams({ experiment_name: name });
  const found = await mlflow(url, `experiments/get-by-name?${query}`, null, Experiment);
  if (found) return found.experiment.experiment_id;
  return (await mustCall(url, "experiments/create", { name }, Created)).experiment_id;
}

/** Every value of an object by its path: `hyperparameters.learning_rate`. */
function flat(value: unknown, path: string): [string, string][] {
  if (value === null || value === undefined) return [];
  if (typeof value === "object" && !Array.isArray(value))
    return Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key));
  return [[path, (Array.isArray(value) ? value.join(", ") : String(value)).slice(0, MOST_CHARACTERS)]];
}

/** The settings of a job as MLflow's parameters. */
function paramsOf({ spec }: JobView): { key: string; value: string }[] {
  if (spec.kind !== "train") return [];
  const { base_model, dataset, method, hyperparameters, schedule, output_model } = spec;
  const { grader: _grader, ...settings } = { grader: null, ...method };
  const all = { base_model: base_model.id, dataset: dataset.version_id, output_model, method: settings };
  return flat({ ...all, hyperparameters, steps: schedule.total_steps }, "").map(([key, value]) => ({ key, value }));
}

/** The points of the metrics as CSV: `step,time,<series…>`. */
function metricsOf(csv: string): Metric[] {
  const [head = "", ...lines] = csv.trimEnd().split("\n");
  const keys = head.split(",").slice(2);
  return lines.flatMap((line) => {
    const [step, time, ...values] = line.split(",");
    const at = { timestamp: Date.parse(time ?? ""), step: Number(step) };
    return values.flatMap((text, index) => (text ? [{ key: keys[index] ?? "", value: Number(text), ...at }] : []));
  });
}

const chunks = <T>(all: T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));

/** Creates the run of a job. @returns its id. @throws AppError `already_there` */
async function createRun(url: string, experiment: string, job: JobView): Promise<string> {
  const filter = { experiment_ids: [experiment], filter: `tags.\`${TAG}\` = '${job.id}'`, max_results: 1 };
  const before = await mustCall(url, "runs/search", filter, Runs);
  if (before.runs.length > 0)
    throw new AppError(
      "conflict",
      "already_there",
      `The job ${job.id} is in MLflow already, as run ${before.runs[0]?.info.run_id}. Delete it there to copy the job again.`,
    );
  const tags = { [TAG]: job.id, "mlflow.source.name": "finetune-lab", ...job.metadata };
  const { run } = await mustCall(
    url,
    "runs/create",
    {
      experiment_id: experiment,
      run_name: job.name,
      start_time: (job.started_at ?? job.created_at) * 1000,
      tags: Object.entries(tags).map(([key, value]) => ({ key, value: String(value) })),
    },
    Run,
  );
  return run.info.run_id;
}

export const MLFLOW_VERB: Verb = {
  name: "job mlflow",
  summary: "Copies the settings and metrics of an ended training job to an MLflow tracking server.",
  words: "ID",
  options: {
    tracking: { value: "URL", help: "address of the tracking server (default: MLFLOW_TRACKING_URI)" },
    experiment: { value: "NAME", help: "experiment of the run, created when there is none (default: finetune-lab)" },
    ...SERVER_OPTIONS,
  },
  notes:
    "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, sign in to the tracking server.",
  async run(args) {
    const api = connect(args);
    const id = idOf(args, "job");
    const given = args.text("tracking") ?? clientEnvironment().mlflowUrl;
    if (!given)
      throw new UsageError("Give the address of the tracking server with --tracking, or MLFLOW_TRACKING_URI.");
    const url = serverUrl(given);
    const path = `/v1/jobs/${encodeURIComponent(id)}`;
    const job = await api.call<JobView>("GET", path);
    if (job.kind !== "train" || !isFinal(job.state))
      throw new UsageError(`${id} is not a training job that has ended.`);
    const metrics = metricsOf(await (await api.open("GET", `${path}/metrics.csv`)).text());
    const experiment = await experimentId(url, args.text("experiment") ?? "finetune-lab");
    const run = await createRun(url, experiment, job);
    const log = (body: object) => mustCall(url, "runs/log-batch", { run_id: run, ...body }, v.object({}));
    for (const params of chunks(paramsOf(job), MOST_PARAMS)) await log({ params });
    const progress = createProgress(process.stderr);
    let sent = 0;
    for (const part of chunks(metrics, MOST_METRICS)) {
      await log({ metrics: part });
      sent += part.length;
      progress.show(`${formatInteger(sent)} of ${formatInteger(metrics.length)} values`, sent / metrics.length);
    }
    progress.end();
    const ended = { run_id: run, status: STATUS[job.state] ?? "FINISHED", end_time: (job.finished_at ?? 0) * 1000 };
    await mustCall(url, "runs/update", ended, v.object({}));
    if (args.on("json")) printJson({ experiment_id: experiment, run_id: run, metrics: metrics.length });
    else print(`${url}/#/experiments/${experiment}/runs/${run}\n`);
    return EXIT.ok;
  },
};
