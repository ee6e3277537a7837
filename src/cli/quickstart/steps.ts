/** The steps of quickstart, each with the public API: data, base model, training, evaluation, endpoint, chat. */

import { basename } from "node:path";
import { isFinal, phaseWords } from "../../contract/job.ts";
import { describe, type Mapping } from "../../data/validation/mapping/model.ts";
import { AppError } from "../../errors.ts";
import { type ApiClient, poll } from "../api-client.ts";
import { clockText, type Progress } from "../progress.ts";

/** Tools of every step. */
export interface Step {
  api: ApiClient;
  progress: Progress;
  signal: AbortSignal;
  /** Running work of quickstart, and how to end it; see `windUp`. */
  undo: ((api: ApiClient) => Promise<void>)[];
}

/**
 * Ends work of the steps, newest first: processes of jobs outlive the server, so stopping only the server would leave
 * them.
 */
export async function windUp(undo: Step["undo"], api: ApiClient): Promise<void> {
  for (const end of undo.splice(0).reverse()) await end(api).catch(() => {});
}

const UNDO_MS = 30_000;

/** Waits with a limit until `look` is satisfied. */
async function settled(look: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + UNDO_MS;
  while (performance.now() < until && !(await look())) await Bun.sleep(250);
}

async function cancelJob(api: ApiClient, id: string): Promise<void> {
  await api.call("POST", `/v1/jobs/${id}/cancel`);
  await settled(async () => isFinal((await api.call<Job>("GET", `/v1/jobs/${id}`)).state));
}

/** An endpoint that sleeps has no process; the next request wakes it. */
async function sleepDeployment(api: ApiClient, id: string): Promise<void> {
  await api.call("POST", `/v1/deployments/${id}/sleep`);
  await settled(async () => (await api.call<{ state: string }>("GET", `/v1/deployments/${id}`)).state === "asleep");
}

interface Version {
  id: string;
  status: "validating" | "needs_mapping" | "ready" | "failed";
  error: string | null;
  rows: number;
  train_rows: number;
  holdout_rows: number;
  progress: number;
}
interface Dataset {
  id: string;
  name: string;
  version: Version | null;
}
interface Report {
  mapping?: { proposed: Mapping | null } | null;
}

/** A step that ended in a state that the user must see. */
const stopped = (code: string, message: string) => new AppError("unavailable", code, message);

/**
 * Uploads `path`, creates a dataset and waits for its validation. Columns are mapped as the server proposes.
 * @param holdout share of the validation split
 */
export async function makeDataset(step: Step, path: string, holdout: number, name = basename(path)): Promise<Dataset> {
  const { api, progress } = step;
  progress.show(`Uploading ${basename(path)}`, null);
  const made = await api.upload<Dataset>("/v1/datasets", path, { name, holdout_fraction: String(holdout) });
  let mapped = false;
  const dataset = await poll(async () => {
    const found = await api.call<Dataset>("GET", `/v1/datasets/${made.id}`);
    const version = found.version;
    if (!version || version.status === "validating") {
      progress.show("Validating every row", version?.progress ?? 0);
      return null;
    }
    if (version.status === "needs_mapping" && !mapped) {
      mapped = true;
      await mapColumns(step, found.id, version.id, holdout);
      return null;
    }
    if (version.status !== "ready")
      throw stopped("dataset_refused", `${basename(path)} cannot be used: ${version.error ?? "see its page"}`);
    return found;
  }, step);
  const version = dataset.version as Version;
  progress.line(
    `  ${basename(path)}: ${version.rows} rows, ${version.train_rows} for training, ${version.holdout_rows} for validation`,
  );
  return dataset;
}

async function mapColumns({ api, progress }: Step, dataset: string, version: string, holdout: number): Promise<void> {
  const report = await api.call<{ report: Report | null }>("GET", `/v1/datasets/${dataset}/report?version=${version}`);
  const mapping = report.report?.mapping?.proposed;
  if (mapping?.type !== "chat")
    throw stopped("no_mapping", "The columns of this file are ambiguous. Map them on the page of the dataset.");
  progress.line(`  ${describe(mapping)}`);
  await api.call("POST", `/v1/datasets/${dataset}/versions`, { mapping, holdout_fraction: holdout });
}

interface BaseModel {
  id: string;
  name: string;
  status: string;
  progress?: { message: string; fraction: number | null } | null;
  error?: string | null;
}

/** Installs the base model when it is missing. */
export async function makeBaseModel({ api, progress, signal }: Step, id: string): Promise<BaseModel> {
  const look = () => api.call<BaseModel>("GET", `/v1/base_models/${id}`);
  let model = await look();
  if (model.status !== "ready" && model.status !== "installing")
    await api.call("POST", `/v1/base_models/${id}/install`);
  model = await poll(
    async () => {
      const found = await look();
      if (found.status === "failed") throw stopped("base_model_failed", `${id}: ${found.error ?? "not installed"}`);
      if (found.status === "ready") return found;
      progress.show(found.progress?.message ?? "Installing the base model", found.progress?.fraction ?? null);
      return null;
    },
    { signal },
  );
  progress.line(`  ${model.name} is ready`);
  return model;
}

interface Job {
  id: string;
  state: string;
  progress: {
    step?: number;
    total_steps?: number;
    fraction?: number;
    eta_s?: number | null;
    phase?: string;
    loss?: number;
    tokens_per_second?: number;
    waiting?: string;
  };
  spec: { output_model?: string };
  error: { message: string; advice: string | null } | null;
  result: Record<string, unknown> | null;
}

/** One line about a running job. */
export function jobLine({ state, progress }: Pick<Job, "state" | "progress">): [string, number | null] {
  const { step, total_steps: total, fraction, loss, eta_s: eta, tokens_per_second: speed } = progress;
  if (state === "queued" || state === "validating") return [progress.waiting ?? "Waiting for a free slot", null];
  if (!step || !total) return [phaseWords(progress.phase, "terminal") ?? "Starting the trainer", null];
  const parts = [`step ${step}/${total}`];
  if (loss !== undefined) parts.push(`loss ${loss.toFixed(3)}`);
  if (speed) parts.push(`${Math.round(speed)} tokens/s`);
  if (eta) parts.push(`${clockText(eta)} left`);
  const phase = progress.phase === "training" ? null : phaseWords(progress.phase, "terminal");
  if (phase) parts.push(phase.toLowerCase());
  return [parts.join("  "), fraction ?? step / total];
}

/** Starts the training and shows its progress until it ends. `onMade` gets the job id at once. */
export async function train(
  { api, progress, signal, undo }: Step,
  request: Record<string, unknown>,
  onMade: (jobId: string) => void,
): Promise<Job> {
  const made = await api.call<Job>("POST", "/v1/jobs", request);
  onMade(made.id);
  const cancel = (fresh: ApiClient) => cancelJob(fresh, made.id);
  undo.push(cancel);
  const job = await poll(
    async () => {
      const found = await api.call<Job>("GET", `/v1/jobs/${made.id}`);
      if (isFinal(found.state)) return found;
      progress.show(...jobLine(found));
      return null;
    },
    { signal, everyMs: 400 },
  );
  undo.splice(undo.indexOf(cancel), 1);
  if (job.state !== "succeeded") {
    const { message, advice } = job.error ?? { message: `The training was ${job.state}.`, advice: null };
    throw stopped("training_failed", [message, advice].filter(Boolean).join(" "));
  }
  return job;
}

/** One side of an evaluation, as stored. */
export interface Side {
  rows: number;
  loss: { mean: number };
  perplexity: number;
  token_accuracy: { mean: number };
  exact_match: { mean: number; low: number; high: number; count: number };
}
export interface Evaluation {
  id: string;
  job_id: string;
  status: string;
  progress: { fraction?: number; phase?: string };
  error: { message: string } | null;
  result: { base: Side; tuned: Side | null } | null;
  comparison: { sentence: string } | null;
}

/** Waits for the automatic evaluation after a training, or for `id`. */
export async function compare(step: Step, trainJobId: string, id?: string): Promise<Evaluation> {
  const { api, progress, undo } = step;
  const path = id ? `/v1/evaluations/${id}` : `/v1/evaluations?job=${trainJobId}&limit=1`;
  let cancel: Step["undo"][number] | null = null;
  const done = await poll(async () => {
    const found = await api.call<Evaluation & { data?: Evaluation[] }>("GET", path);
    const evaluation = id ? found : found.data?.[0];
    if (evaluation && !cancel) {
      cancel = (fresh) => cancelJob(fresh, evaluation.job_id);
      undo.push(cancel);
    }
    if (evaluation && isFinal(evaluation.status)) return evaluation;
    progress.show("Both models answer the validation rows", evaluation?.progress.fraction ?? null);
    return null;
  }, step);
  if (cancel) undo.splice(undo.indexOf(cancel), 1);
  if (done.status !== "succeeded")
    throw stopped("evaluation_failed", done.error?.message ?? `The evaluation was ${done.status}.`);
  return done;
}

/** Creates an endpoint for `model` and waits until it answers. */
export async function deploy({ api, progress, signal, undo }: Step, model: string): Promise<string> {
  const made = await api.call<{ id: string }>("POST", "/v1/deployments", { model });
  undo.push((fresh) => sleepDeployment(fresh, made.id));
  await poll(
    async () => {
      const found = await api.call<{ state: string; error: string | null }>("GET", `/v1/deployments/${made.id}`);
      if (found.state === "failed") throw stopped("deployment_failed", found.error ?? "The endpoint failed.");
      progress.show("Starting the endpoint", null);
      return found.state === "ready" ? true : null;
    },
    { signal },
  );
  return made.id;
}

/** A validation row: the prompt, and the answer in the data. */
export interface HeldOut {
  prompt: { role: string; content: string }[];
  expected: string;
}

/** The first validation row that ends with a text answer. */
export async function heldOutRow({ api }: Step, datasetId: string): Promise<HeldOut | null> {
  type Turn = { role: string; content: string | null };
  type Row = { messages?: Turn[]; chosen?: Turn[] };
  const page = await api.call<{ data: Row[] }>("GET", `/v1/datasets/${datasetId}/rows?split=holdout&limit=10`);
  for (const row of page.data) {
    // The chosen answer of a pair is the expected one; plain text has no prompt.
    const messages = [...(row.messages ?? []), ...(row.chosen ?? [])];
    const last = messages.at(-1);
    if (last?.role !== "assistant" || !last.content) continue;
    const prompt = messages.slice(0, -1).map(({ role, content }) => ({ role, content: content ?? "" }));
    if (prompt.some((message) => message.role === "user")) return { prompt, expected: last.content };
  }
  return null;
}

/** One answer of `model`, with temperature 0. */
export async function chat({ api }: Step, model: string, messages: HeldOut["prompt"]): Promise<string> {
  const body = { model, messages, temperature: 0, max_tokens: 64 };
  const answer = await api.call<{ choices: { message: { content: string | null } }[] }>(
    "POST",
    "/v1/chat/completions",
    body,
  );
  return answer.choices[0]?.message.content ?? "";
}
