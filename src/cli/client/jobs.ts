/** `job …`: list, show, create, watch, and the actions on a job. */
import { existsSync } from "node:fs";
import type { JobDetails } from "../../api/jobs-model.ts";
import { isFinal } from "../../contract/job.ts";
import { AppError } from "../../errors.ts";
import { BURST_TEXT_MESSAGE, type BurstPolicy, burstPolicyOf, burstPolicyText } from "../../lib/text/burst-policy.ts";
import { formatDuration, formatInteger, formatMoney, formatNumber, formatPercent } from "../../lib/text/format.ts";
import type { JobView } from "../../training/jobs/model.ts";
import type { PlanView } from "../../training/plan/plan.ts";
import { type ApiClient, poll } from "../api-client.ts";
import { type Args, EXIT, UsageError, type Verb } from "../command.ts";
import { createProgress } from "../progress.ts";
import { jobLine } from "../quickstart/steps.ts";
import { connect, SERVER_OPTIONS } from "./connection.ts";
import { uploadDataset } from "./datasets.ts";
import { MLFLOW_VERB } from "./mlflow.ts";
import { confirm, moment, print, printJson, say } from "./output.ts";
import { planText } from "./plan-text.ts";
import { actionVerb, deleteVerb, idOf, pathOf, type Resource, readVerbs, showOne } from "./resources.ts";

const WATCH_MS = 1000;

const modelOf = ({ spec }: JobView) => spec.base_model.id;
const lossOf = ({ progress: { loss, eval_loss: evalLoss } }: JobView) =>
  loss === undefined
    ? null
    : `${formatNumber(loss)}${evalLoss === undefined ? "" : `, validation ${formatNumber(evalLoss)}`}`;

const jobs: Resource<JobView> = {
  noun: "job",
  one: "a job",
  plural: "jobs",
  path: "/v1/jobs",
  filters: {
    kind: { value: "train|evaluate|serve|export", help: "only jobs of this kind" },
    state: { value: "STATES", help: "only jobs in these states, separated by commas" },
    search: { value: "TEXT", help: "only jobs with this text in name, id or model" },
  },
  columns: [
    { title: "ID", value: (one) => one.id },
    { title: "NAME", value: (one) => one.name, flexible: true },
    { title: "KIND", value: (one) => one.kind, optional: true },
    { title: "STATE", value: (one) => one.state },
    {
      title: "DONE",
      value: ({ state, progress }) =>
        state === "running" && progress.fraction !== undefined ? formatPercent(progress.fraction) : null,
      end: true,
    },
    { title: "BASE MODEL", value: modelOf, flexible: true },
    { title: "CREATED (UTC)", value: (one) => moment(one.created_at), optional: true },
  ],
  fields: (one) => [
    ["ID", one.id],
    ["Name", one.name],
    ["Kind", one.kind],
    ["State", one.state],
    ["Waits for", one.state === "queued" || one.state === "validating" ? (one.progress.waiting ?? null) : null],
    ["Error", one.error?.message ?? null],
    ["Advice", one.error?.advice ?? null],
    ["Base model", modelOf(one)],
    ["Data", one.spec.kind === "train" ? one.spec.dataset.version_id : null],
    ["Method", one.spec.kind === "train" ? one.spec.method.type : null],
    [
      "Step",
      one.progress.step === undefined
        ? null
        : `${formatInteger(one.progress.step)} of ${formatInteger(one.progress.total_steps)}`,
    ],
    ["Loss", lossOf(one)],
    ["Model", one.model],
    ["Burst policy", one.burst && burstPolicyText(one.burst)],
    ["Created (UTC)", moment(one.created_at)],
    ["Started (UTC)", moment(one.started_at)],
    ["Finished (UTC)", moment(one.finished_at)],
  ],
  async details(api, { id }) {
    const { usage } = await api.call<JobDetails>("GET", pathOf(jobs, id));
    if (usage.seconds === 0) return "";
    return `Usage: ${formatDuration(usage.seconds)}, ${formatInteger(usage.tokens)} tokens, ${formatMoney(usage.cost_usd)}\n`;
  },
};

/** Shows the progress of a job until it ends; Ctrl-C only ends the watching. */
export async function watchJob(api: ApiClient, id: string): Promise<JobView> {
  const progress = createProgress(process.stderr);
  const stop = () => {
    progress.end();
    say(`The job continues. Watch it again: finetune-lab job watch ${id}`);
    process.exit(EXIT.ok);
  };
  process.once("SIGINT", stop);
  const done = await poll(
    async () => {
      const job = await api.call<JobView>("GET", pathOf(jobs, id));
      if (isFinal(job.state)) return job;
      const [text, fraction] = jobLine(job);
      progress.show(`${job.state}  ${text}`, fraction);
      return null;
    },
    { everyMs: WATCH_MS },
  );
  process.off("SIGINT", stop);
  progress.end();
  return done;
}

/** Watches a job and prints how it ended. */
async function watchAndShow(api: ApiClient, id: string, json: boolean): Promise<number> {
  const job = await watchJob(api, id);
  await showOne(api, jobs, job, json);
  return job.state === "succeeded" ? EXIT.ok : EXIT.failed;
}

/** The value of `--set key=value`: JSON where it is JSON (numbers, true, lists), else text. */
function settingOf(pair: string): [string, unknown] {
  const [name = "", value] = pair.split(/=(.*)/s);
  if (!name || value === undefined) throw new UsageError(`--set ${pair} is not KEY=VALUE.`);
  try {
    return [name, JSON.parse(value)];
  } catch {
    return [name, value];
  }
}

/** The id of data: as given, or of a file on this machine, which is uploaded. */
async function dataId(api: ApiClient, given: string): Promise<string> {
  if (/^(file-|ds_|dsv_)/.test(given)) return given;
  if (!existsSync(given)) throw new UsageError(`${given} is neither the id of data nor a file on this machine.`);
  const made = await uploadDataset(api, given, {});
  if (made.version?.status !== "ready")
    throw new AppError(
      "invalid",
      "dataset_refused",
      `${given} cannot be used: ${made.version?.error ?? "see its report"}. The report: finetune-lab dataset show ${made.id}`,
    );
  return made.id;
}

/** The value of `--max-cost-usd`. */
function dollarsOf(typed: string | undefined): number | undefined {
  if (typed === undefined) return undefined;
  const usd = Number(typed);
  if (!typed.trim() || !Number.isFinite(usd))
    throw new UsageError(`--max-cost-usd ${typed} is not a number of dollars.`);
  return usd;
}

/** The value of `--burst`. */
function burstOf(typed: string | undefined): BurstPolicy | undefined {
  if (typed === undefined) return undefined;
  const policy = burstPolicyOf(typed);
  if (!policy) throw new UsageError(`--burst ${typed}: it ${BURST_TEXT_MESSAGE}.`);
  return policy;
}

async function requestOf(api: ApiClient, args: Args): Promise<Record<string, unknown>> {
  const text = (name: string) => args.text(name);
  const validation = text("validation");
  const maxCost = dollarsOf(text("max-cost-usd"));
  const burst = burstOf(text("burst"));
  const model = args.required("model");
  const data = await dataId(api, args.required("data"));
  return {
    model,
    training_file: data,
    ...(validation ? { validation_file: await dataId(api, validation) } : {}),
    ...Object.fromEntries(["method", "name", "suffix"].flatMap((name) => (text(name) ? [[name, text(name)]] : []))),
    ...(maxCost === undefined ? {} : { max_cost_usd: maxCost }),
    ...(burst === undefined ? {} : { burst }),
    ...Object.fromEntries(args.all("set").map(settingOf)),
  };
}

const create: Verb = {
  name: "job create",
  summary: "Shows the plan of a training job, asks, and starts it.",
  options: {
    model: { value: "MODEL", help: "base model, or a fine-tuned model to continue from" },
    data: { value: "ID|FILE", help: "dataset, version or file to train on; a file on this machine is uploaded" },
    validation: { value: "ID|FILE", help: "data for validation (default: the validation split)" },
    method: {
      value: "METHOD",
      help: "sft, dpo, orpo, kto, reward, grpo or pretrain (default: by the type of the rows)",
    },
    name: { value: "NAME", help: "name of the job" },
    suffix: { value: "TEXT", help: "part of the id of the fine-tuned model" },
    "max-cost-usd": { value: "USD", help: "the job saves a checkpoint and waits before it costs more" },
    burst: {
      value: "POLICY",
      help: "local_only, cheapest, fastest or burst; burst:wait=30m,cost=20 rents after a wait, below a cost",
    },
    set: { value: "KEY=VALUE", many: true, help: "any other field of POST /v1/jobs, such as n_epochs=3 or lora_r=32" },
    "dry-run": { help: "only show the plan" },
    yes: { short: "y", help: "do not ask" },
    watch: { help: "show the progress until the job ends" },
    ...SERVER_OPTIONS,
  },
  notes:
    "The id of the job is on standard output. With --watch the exit code is 0 when the job succeeded, 1 when it did not.",
  async run(args) {
    const api = connect(args);
    const json = args.on("json");
    const request = await requestOf(api, args);
    const plan = await api.call<PlanView>("POST", `${jobs.path}/plan`, request);
    if (args.on("dry-run")) {
      if (json) printJson(plan);
      else print(planText(plan));
      return EXIT.ok;
    }
    if (!json) process.stderr.write(`${planText(plan)}\n`);
    if (!args.on("yes")) await confirm("Start this job?");
    const job = await api.call<JobView>("POST", jobs.path, request);
    if (args.on("watch")) {
      say(`Started ${job.id}.`);
      return watchAndShow(api, job.id, json);
    }
    if (json) printJson(job);
    else print(`${job.id}\n`);
    return EXIT.ok;
  },
};

const watch: Verb = {
  name: "job watch",
  summary: "Shows the progress of a job with its loss until it ends.",
  words: "ID",
  options: SERVER_OPTIONS,
  notes: "Exit code 0 when the job succeeded, 1 when it failed or was canceled. Ctrl-C ends only the watching.",
  run: (args) => watchAndShow(connect(args), idOf(args, "job"), args.on("json")),
};

export const JOB_VERBS: Verb[] = [
  ...readVerbs(jobs),
  create,
  watch,
  MLFLOW_VERB,
  actionVerb(jobs, "cancel", "Cancels a job."),
  actionVerb(jobs, "pause", "Saves a checkpoint of a job and releases its machine."),
  actionVerb(jobs, "resume", "Continues a paused job from its newest checkpoint."),
  actionVerb(jobs, "rerun", "Starts the same training again."),
  deleteVerb(jobs, "Deletes the unused files of an ended training job; its metrics and log are kept.", "/checkpoints"),
];
