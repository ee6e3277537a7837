/** Loads the data of the job pages. */

import { creatorName } from "../../../src/accounts/organizations/creators.ts";
import { maxCostsOf } from "../../../src/billing/budgets/max-cost.ts";
import { energyOf } from "../../../src/billing/ledger/energy.ts";
import { usageOfJob } from "../../../src/billing/ledger/service.ts";
import { JOB_STATES, type JobState, OPEN_STATES } from "../../../src/contract/job.ts";
import type { TrainSpec } from "../../../src/contract/spec.ts";
import { fits } from "../../../src/contract/support.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { readRows } from "../../../src/data/datasets/rows.ts";
import { getDataset, listDatasets } from "../../../src/data/datasets/service.ts";
import { getVersion, labelOfVersion, versionOf } from "../../../src/data/datasets/versions.ts";
import { AppError } from "../../../src/errors.ts";
import { listed } from "../../../src/lib/page.ts";
import { listCatalogue } from "../../../src/models/base/service.ts";
import { deletedAmong } from "../../../src/models/tuned/lookup.ts";
import { listCheckpoints, listModels } from "../../../src/models/tuned/service.ts";
import { getExport } from "../../../src/training/exports/service.ts";
import { jobCost } from "../../../src/training/jobs/cost.ts";
import { factsOf, filterOptions } from "../../../src/training/jobs/facts.ts";
import { countJobs, listJobs } from "../../../src/training/jobs/list.ts";
import type { JobRow } from "../../../src/training/jobs/model.ts";
import { listAttempts } from "../../../src/training/jobs/service.ts";
import { getJob } from "../../../src/training/jobs/store.ts";
import { listHistory, listSamples, readLogs, readSeries } from "../../../src/training/metrics/service.ts";
import { fitter } from "../../../src/training/plan/fits.ts";
import { reproductionOf } from "../../../src/training/plan/reproduce.ts";
import { planInQueue } from "../../../src/training/queue/planned.ts";
import { queueFacts } from "../../../src/training/queue/service.ts";
import { changed, emptyForm, fieldOf, formOfJob, type JobForm, requestOf } from "./form.ts";
import { graderTemplate } from "./grader-templates.ts";

const PAGE = 25;
const LOG_LINES = 300;
/** Number of fine-tuned models offered to continue from. */
const MAX_TUNED = 20;
const KINDS = ["train", "evaluate", "serve", "export"] as const;
/** States in which a job may change by itself. */
const ACTIVE: readonly JobState[] = OPEN_STATES.filter((state) => state !== "paused");

interface ListFilters {
  q: string;
  state: string;
  kind: string;
  user: string;
  dataset: string;
  base: string;
  tag: string;
  archived: string;
  sort: string;
  after: string;
}

/** Jobs are counted up to this number. */
const MOST = 1000;

/** A page of the job list. Unknown filter values are ignored. */
export async function listProps(ctx: Ctx, actor: Actor, filters: ListFilters, columns: readonly string[]) {
  const { q, state, kind, user, dataset, base, tag, archived, sort, after } = filters;
  const states = state === "active" ? ACTIVE : JOB_STATES.filter((one) => one === state);
  const query = {
    search: q.trim() || undefined,
    state: states.length ? [...states] : undefined,
    kind: KINDS.find((one) => one === kind),
    createdBy: user || undefined,
    datasetId: dataset || undefined,
    base: base || undefined,
    tag: tag || undefined,
    archived: archived === "1",
  };
  const rows = await listJobs(ctx, actor, {
    ...query,
    sort: sort || undefined,
    after: after || undefined,
    limit: PAGE,
  });
  const facts = await factsOf(
    ctx,
    rows.map((row) => row.id),
  );
  const runs = rows.flatMap((job) => {
    const found = facts.get(job.id);
    return found ? [{ id: job.id, job, facts: found }] : [];
  });
  return {
    ...listed(runs, PAGE),
    columns,
    count: await countJobs(ctx, actor, query, MOST),
    most: MOST,
    options: await filterOptions(ctx, actor),
  };
}

/** Whether the page of a job in this state needs live updates. */
const isOpen = (state: JobState) => ACTIVE.includes(state);

/** Names of other jobs, by ID; a deleted one is absent. */
async function namesOfJobs(ctx: Ctx, actor: Actor, ids: (string | null | undefined)[]): Promise<Map<string, string>> {
  const found = await Promise.all(
    [...new Set(ids)].map((id) => (id ? getJob(ctx, actor, id).catch(() => null) : null)),
  );
  return new Map(found.flatMap((one) => (one ? [[one.id, one.name] as const] : [])));
}

/** The data of one job's page. */
export async function jobProps(ctx: Ctx, actor: Actor, id: string, query: { log: string; before: string }) {
  const job = await getJob(ctx, actor, id);
  const logSearch = query.log.trim();
  // Series first: the live stream continues after their batch id, and everything read later is newer.
  const series = await readSeries(ctx, id, { maxPoints: 1000 });
  const [attempts, checkpoints, samples, history, log, usage, evaluation] = await Promise.all([
    listAttempts(ctx, actor, id),
    listCheckpoints(ctx, id, { limit: 50 }),
    listSamples(ctx, id),
    listHistory(ctx, id),
    readLogs(ctx, id, {
      search: logSearch || undefined,
      before: /^\d{1,15}$/.test(query.before) ? Number(query.before) : undefined,
      limit: LOG_LINES,
    }),
    usageOfJob(ctx, actor, id),
    job.kind === "train" ? evaluationOf(ctx, actor, job) : null,
  ]);
  const queue = await queueFacts(ctx, actor, job);
  const latest = Object.fromEntries(Object.entries(series.series).map(([key, one]) => [key, one.last_value]));
  const model = job.kind === "train" && job.state === "succeeded" ? (job.spec as TrainSpec).output_model : null;
  const ended = job.state === "failed" || job.state === "cancelled";
  const reproduction = await reproductionOf(ctx, actor, job);
  return {
    job,
    creator: await creatorName(ctx, job.createdBy),
    names: await namesOfJobs(ctx, actor, [job.parentId, job.metadata.continues, reproduction?.original]),
    series,
    attempts,
    checkpoints,
    samples,
    history,
    log,
    logSearch,
    evaluation,
    latest,
    model,
    queue,
    usage,
    cost: await jobCost(ctx, job),
    maxCost: (await maxCostsOf(ctx.db, [id])).get(id) ?? null,
    energy: await energyOf(ctx, usage.joules),
    active: isOpen(job.state),
    resumable: ended ? (checkpoints[0]?.step ?? null) : null,
    modelDeleted: model !== null && (await deletedAmong(ctx, actor.org, [model])).length > 0,
    data:
      "dataset" in job.spec && job.spec.dataset ? await labelOfVersion(ctx, actor, job.spec.dataset.version_id) : null,
    exported: job.kind === "export" ? await getExport(ctx, actor, id) : null,
    reproduction,
  };
}

/** The initial form of the new-job page: a copy of a job, or an empty form with the given or default data and model. */
export async function firstForm(
  ctx: Ctx,
  actor: Actor,
  query: { data: string; model: string; from: string; change: string },
) {
  if (query.from) {
    const job = await getJob(ctx, actor, query.from);
    return { form: changed(formOfJob(job), query.change), from: job.name };
  }
  const [datasets, bases] = await Promise.all([listDatasets(ctx, actor, { limit: 30 }), listCatalogue(ctx, actor)]);
  const usable = bases.filter((base) => base.status === "ready" && base.license.accepted);
  // Without an installed model the job waits for the one that is being installed, or installs the included one.
  const asked = bases.find((one) => one.id === query.model && one.license.accepted);
  const next = bases.find((one) => one.status === "installing") ?? bases.find((one) => one.default);
  const base = asked ?? usable.find((one) => one.default) ?? usable[0] ?? next;
  const data = datasets.find((row) => row.version?.status === "ready") ?? datasets[0];
  return { form: emptyForm(query.data || (data?.dataset.id ?? ""), base?.id ?? ""), from: null };
}

/**
 * Data outside the list of newest datasets, selected by a link or a copied job: an older dataset, or a single version.
 */
async function otherData(ctx: Ctx, actor: Actor, id: string) {
  try {
    const version = id.startsWith("dsv_") ? await getVersion(ctx, actor, id) : await versionOf(ctx, actor, id);
    const { name } = await getDataset(ctx, actor, version.datasetId);
    const { status, trainRows, rowType, number } = version;
    return [{ id, name: id.startsWith("dsv_") ? `${name}, version ${number}` : name, status, trainRows, rowType }];
  } catch {
    return []; // the plan reports the problem
  }
}

/** The data of the new-job page for a form: choices, plan, and problems by field. */
export async function newJobProps(ctx: Ctx, actor: Actor, asked: JobForm, from: string | null, start = "") {
  const [datasets, bases, tuned] = await Promise.all([
    listDatasets(ctx, actor, { limit: 100 }),
    listCatalogue(ctx, actor),
    listModels(ctx, actor),
  ]);
  const startingModels = tuned.flatMap(({ id }) =>
    id.startsWith("ft:") ? [{ id, base: id.split(":")[1] ?? "" }] : [],
  );
  startingModels.length = Math.min(startingModels.length, MAX_TUNED);
  // A checkpoint or an older model, selected by a link or a copied job.
  if (asked.model.startsWith("ft:") && !startingModels.some((one) => one.id === asked.model))
    startingModels.push({ id: asked.model, base: asked.model.split(":")[1] ?? "" });
  const choices = datasets.map(({ dataset, version }) => ({
    id: dataset.id,
    name: dataset.name,
    status: version?.status ?? "failed",
    trainRows: version?.trainRows ?? 0,
    rowType: version?.rowType ?? null,
  }));
  if (!choices.some((one) => one.id === asked.data)) choices.push(...(await otherData(ctx, actor, asked.data)));
  // When the data changed to another row type, return to its default method.
  const rows = choices.find((one) => one.id === asked.data && one.status === "ready")?.rowType;
  const form = rows && !fits(asked.method, rows) ? { ...asked, method: "auto" } : asked;
  const item = rows === "prompt" ? await firstItem(ctx, actor, asked.data) : null;
  if (start) form.grader = graderTemplate(start, Object.keys(item ?? {})[0] ?? "answer");
  const { view, problems } = await planOf(ctx, actor, form);
  return {
    form,
    from,
    admin: actor.role === "admin",
    datasets: choices,
    bases: bases.map(await fitter(ctx, actor)).map((base) => ({
      id: base.id,
      name: base.name,
      status: base.status,
      parameters: base.parameters,
      contextLength: base.context_length,
      license: base.license.name,
      accepted: base.license.accepted,
      downloadBytes: base.download_bytes,
      fit: base.fit,
    })),
    tuned: startingModels,
    plan: view,
    item,
    problems,
  };
}

/** The fields of the first prompt row, for graders; null when it cannot be read. */
async function firstItem(ctx: Ctx, actor: Actor, id: string): Promise<Record<string, unknown> | null> {
  try {
    const version = id.startsWith("dsv_") ? await getVersion(ctx, actor, id) : await versionOf(ctx, actor, id);
    const { rows } = await readRows(ctx, actor, version.id, { split: "train", after: -1, limit: 1 });
    return (rows as { item?: Record<string, unknown> }[])[0]?.item ?? null;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return null; // the plan reports the problem
  }
}

async function planOf(ctx: Ctx, actor: Actor, form: JobForm) {
  if (!form.data || !form.model) return { view: null, problems: {} };
  const parsed = requestOf(form);
  if ("problems" in parsed) return { view: null, problems: parsed.problems };
  try {
    const plan = await planInQueue(ctx, actor, parsed.request);
    return { view: { plan }, problems: {} };
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    const problems: Record<string, string> = { [fieldOf(error.param)]: error.message };
    return { view: null, problems };
  }
}

/** The newest evaluation job of a training job. */
export async function evaluationOf(ctx: Ctx, actor: Actor, job: JobRow, state?: JobState): Promise<JobRow | null> {
  const [newest] = await listJobs(ctx, actor, { kind: "evaluate", state, parentId: job.id, limit: 1 });
  return newest ?? null;
}
