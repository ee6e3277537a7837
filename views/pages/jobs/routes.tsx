/** Pages of jobs: the list, the new-job form with its plan, a job, and the comparison of runs. */

import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import type { AskAs } from "../../../src/graders/judge.ts";
import { createTrying, type Tried } from "../../../src/graders/training.ts";
import { html, isSecure, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { cookieName, readCookie, writeCookie } from "../../../src/lib/cookies.ts";
import { sha256Hex } from "../../../src/lib/ids.ts";
import { formatBytes, plural } from "../../../src/lib/text/format.ts";
import { deleteJob, updateJob } from "../../../src/training/jobs/edit.ts";
import { UpdateJob } from "../../../src/training/jobs/model.ts";
import { cancelJob, checkpointNow, pauseJob, resumeJob } from "../../../src/training/jobs/service.ts";
import { getJob } from "../../../src/training/jobs/store.ts";
import { clearRun } from "../../../src/training/plan/cleanup.ts";
import { continueJob, reproduceJob } from "../../../src/training/plan/reproduce.ts";
import { createTrainJob, planTrainJob, rerunJob } from "../../../src/training/plan/service.ts";
import { ComparePage } from "./compare.tsx";
import { CompareAnswers } from "./compare-answers.tsx";
import { compareProps } from "./compare-page-data.ts";
import { JobPage } from "./detail.tsx";
import { JobCheckpoints, JobSamples } from "./evidence.tsx";
import { fieldOf, formOf, JobFormBody, requestOf } from "./form.ts";
import { COLUMN_KEYS, DEFAULT_COLUMNS, DeleteJobsPage, JobList, JobListPage } from "./list.tsx";
import { LogLines } from "./log.tsx";
import { NewJobFormView, NewJobPage } from "./new.tsx";
import { JobOutcome } from "./outcome.tsx";
import { firstForm, jobProps, listProps, newJobProps } from "./page-data.ts";
import { JobUpdate } from "./update.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
/** A field that may be given several times. */
const many = (max: number) =>
  v.pipe(
    v.union([v.string(), v.array(v.pipe(v.string(), v.maxLength(100)))]),
    v.transform((value) =>
      [value]
        .flat()
        .flatMap((part) => part.split(","))
        .filter(Boolean),
    ),
    v.maxLength(max),
  );
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ListQuery = v.object({
  q: text(100),
  state: text(40),
  kind: text(20),
  user: text(100),
  dataset: text(100),
  base: text(200),
  tag: text(40),
  archived: text(1),
  sort: text(40),
  after: text(100),
  columns: v.optional(many(20)),
});
const NewQuery = v.object({ data: text(100), model: text(200), from: text(100), change: text(500) });
const JobQuery = v.object({ log: text(200), before: text(15) });
const CompareQuery = v.object({
  ids: v.optional(v.union([v.pipe(v.string(), v.maxLength(2000)), v.array(v.pipe(v.string(), v.maxLength(100)))]), ""),
  after: text(20),
  rows: text(20),
});

type FormBody = v.InferOutput<typeof JobFormBody>;

const ACTIONS = {
  cancel: { act: cancelJob, done: "Canceled. Saved checkpoints are kept." },
  pause: { act: pauseJob, done: "Pausing after a checkpoint." },
  resume: { act: resumeJob, done: "Queued again. The job resumes from its newest checkpoint." },
  checkpoint: { act: checkpointNow, done: "A checkpoint will be saved after the current step." },
} as const;

const TestResult = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    rowId: v.number(),
    reward: v.number(),
    error: v.nullable(v.string()),
    data: v.string(),
    grader: v.string(),
    answer: v.string(),
  }),
);

/** The result of the last grader test, if data, grader and answer are unchanged since. */
function lastTest(body: FormBody): Tried | null {
  const { success, output } = v.safeParse(TestResult, body.outcome);
  if (!success) return null;
  const same =
    output.data === body.data && output.grader === sha256Hex(formOf(body).grader) && output.answer === body.answer;
  return same ? { rowId: output.rowId, reward: output.reward, error: output.error } : null;
}

/** What a route handler gets. */
interface Asked {
  request: Request;
  actor: Actor;
}

const COLUMNS = "job-columns";
const YEAR_S = 365 * 86_400;

/** The chosen columns: of the address, else as chosen last in this browser, else the default. */
function chosenColumns(request: Request, asked: string[] | undefined): readonly string[] {
  const kept = readCookie(request.headers.get("cookie"), cookieName(COLUMNS, isSecure(request)));
  const keys = (asked ?? kept?.split(".") ?? []).filter((key) => COLUMN_KEYS.includes(key));
  return keys.length ? keys : DEFAULT_COLUMNS;
}

/** The list of jobs. */
async function listPage(ctx: Ctx, { request, actor }: Asked, query: v.InferOutput<typeof ListQuery>) {
  const { columns: asked, ...filters } = query;
  const columns = chosenColumns(request, asked);
  const props = await listProps(ctx, actor, filters, columns);
  const cookie = writeCookie(COLUMNS, columns.join("."), { secure: isSecure(request), maxAgeS: YEAR_S });
  return html(pageOf(ctx, request, actor), <JobListPage {...props} />, {
    fragments: { "job-list": () => <JobList {...props} /> },
    headers: asked ? { "set-cookie": cookie } : {},
  });
}

const BULK = {
  cancel: { act: cancelJob, done: "canceled" },
  archive: {
    act: (ctx: Ctx, actor: Actor, id: string) => updateJob(ctx, actor, id, { archived: true }),
    done: "archived",
  },
  unarchive: {
    act: (ctx: Ctx, actor: Actor, id: string) => updateJob(ctx, actor, id, { archived: false }),
    done: "no longer archived",
  },
  delete: { act: deleteJob, done: "deleted" },
} as const;
const BulkForm = v.object({
  ids: v.optional(many(500), []),
  act: v.picklist(["cancel", "archive", "unarchive", "delete"]),
  confirm: text(5),
});

/** Does the same with several jobs; those that refuse are counted, with the first reason. */
async function bulk(ctx: Ctx, { request, actor }: Asked, { ids, act, confirm }: v.InferOutput<typeof BulkForm>) {
  const unique = [...new Set(ids)];
  if (unique.length === 0) return redirect(request, "/jobs", { kind: "bad", text: "Select jobs first." });
  if (act === "delete" && confirm !== "yes") {
    const jobs = await Promise.all(unique.map((id) => getJob(ctx, actor, id)));
    return html(pageOf(ctx, request, actor), <DeleteJobsPage jobs={jobs} />);
  }
  const refused: string[] = [];
  for (const id of unique)
    try {
      await BULK[act].act(ctx, actor, id);
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      refused.push(error.message);
    }
  const done = `${plural(unique.length - refused.length, "job")} ${BULK[act].done}.`;
  if (refused.length === 0) return redirect(request, "/jobs", done);
  return redirect(request, "/jobs", { kind: "bad", text: `${done} ${refused.length} not: ${refused[0]}` });
}

const EditForm = v.object({
  name: text(300),
  tags: text(1000),
  note: text(5000),
  archived: text(5),
  limit: text(5),
  max_cost_usd: text(20),
});

/** A decimal number as typed; empty = none. Many locales use a decimal comma. */
const amountOf = (typed: string) => (typed.trim() === "" ? null : Number(typed.trim().replace(",", ".")));

/** Changes name, tags and note of a job, its maximum cost, or archives it. */
async function editJob(ctx: Ctx, { request, actor }: Asked, id: string, form: v.InferOutput<typeof EditForm>) {
  const given = form.archived
    ? { archived: form.archived === "yes" }
    : form.limit
      ? { max_cost_usd: amountOf(form.max_cost_usd) }
      : {
          name: form.name,
          tags: form.tags
            .split(",")
            .map((tag) => tag.trim())
            .filter(Boolean),
          note: form.note,
        };
  const parsed = v.safeParse(UpdateJob, given);
  if (!parsed.success)
    return redirect(request, `/jobs/${id}`, {
      kind: "bad",
      text: `${v.getDotPath(parsed.issues[0]) ?? "The change"}: ${parsed.issues[0].message}`,
    });
  const job = await updateJob(ctx, actor, id, parsed.output);
  const done = form.archived ? (job.archivedAt ? "Archived." : "No longer archived.") : "Saved.";
  return redirect(request, `/jobs/${id}`, done);
}

/** Deletes a job after its confirmation. */
async function removeJob(ctx: Ctx, { request, actor }: Asked, id: string) {
  const { name } = await getJob(ctx, actor, id);
  await deleteJob(ctx, actor, id);
  return redirect(request, "/jobs", `“${name}” was deleted.`);
}

/** The form of a new job, empty or copied from a job. */
async function newPage(ctx: Ctx, { request, actor }: Asked, query: v.InferOutput<typeof NewQuery>) {
  const { form, from } = await firstForm(ctx, actor, query);
  const props = await newJobProps(ctx, actor, form, from);
  const problems = from ? props.problems : {};
  return html(pageOf(ctx, request, actor), <NewJobPage {...props} tried={null} outcome="" problems={problems} />);
}

/** The comparison of runs. */
async function comparePage(ctx: Ctx, { request, actor }: Asked, query: v.InferOutput<typeof CompareQuery>) {
  const ids = [query.ids]
    .flat()
    .flatMap((part) => part.split(","))
    .filter(Boolean);
  const { after, rows } = query;
  const props = await compareProps(ctx, actor, [...new Set(ids)], {
    mixed: rows === "mixed",
    after: /^\d{1,15}$/.test(after) ? Number(after) : null,
  });
  return html(pageOf(ctx, request, actor), <ComparePage {...props} />, {
    fragments: { answers: () => <CompareAnswers {...props} /> },
  });
}

/** The page of a job. */
async function jobPage(ctx: Ctx, { request, actor }: Asked, id: string, query: v.InferOutput<typeof JobQuery>) {
  const props = await jobProps(ctx, actor, id, query);
  const { job, samples, checkpoints, log, logSearch, active } = props;
  return html(pageOf(ctx, request, actor), <JobPage {...props} />, {
    fragments: {
      "job-status": () => <JobUpdate {...props} />,
      "job-outcome": () => <JobOutcome {...props} />,
      "job-samples": () => <JobSamples job={job} samples={samples} active={active} />,
      "job-checkpoints": () => <JobCheckpoints job={job} checkpoints={checkpoints} active={active} />,
      "log-lines": () => <LogLines jobId={job.id} log={log} search={logSearch} active={active} />,
    },
  });
}

/** Runs a job again with the same settings. */
async function runAgain(ctx: Ctx, { request, actor }: Asked, id: string) {
  const job = await rerunJob(ctx, actor, id);
  return redirect(request, `/jobs/${job.id}`, "Queued again with the same settings.");
}

/** Runs the frozen spec of a job again. */
async function reproduce(ctx: Ctx, { request, actor }: Asked, id: string) {
  const job = await reproduceJob(ctx, actor, id);
  const message = "The same spec runs again. This page shows whether the losses are the same.";
  return redirect(request, `/jobs/${job.id}`, message);
}

/** Continues a run from its newest checkpoint. */
async function continueRun(ctx: Ctx, { request, actor }: Asked, id: string) {
  const job = await continueJob(ctx, actor, id);
  return redirect(request, `/jobs/${job.id}`, "Queued. The new job continues from the newest checkpoint.");
}

/** Deletes unused files of an ended job. */
async function clearFiles(ctx: Ctx, { request, actor }: Asked, id: string) {
  const { checkpoints, bytes, kept } = await clearRun(ctx, actor, id);
  const deleted = bytes
    ? `${plural(checkpoints, "checkpoint")} deleted, ${formatBytes(bytes)} freed.`
    : "Nothing was deleted.";
  const inUse = kept.length ? ` Kept because they are in use: ${kept.join(", ")}.` : "";
  return redirect(request, `/jobs/${id}`, deleted + inUse);
}

/** Performs an action on a job. */
async function performAction(ctx: Ctx, { request, actor }: Asked, id: string, action: keyof typeof ACTIONS) {
  const { act, done } = ACTIONS[action];
  try {
    await act(ctx, actor, id);
  } catch (error) {
    // The state changed since the page was loaded: show the message there.
    if (!(error instanceof AppError) || error.code !== "illegal_transition") throw error;
    return redirect(request, `/jobs/${id}`, { kind: "bad", text: error.message });
  }
  return redirect(request, `/jobs/${id}`, done);
}

/** The handlers of the posted form. `ask` runs a model as the user, for graders that use one. */
function formHandlers(ctx: Ctx, ask: AskAs) {
  const tryGrader = createTrying(ctx, ask);

  /** Tests the grader of the form with an answer to the first row; `problem` if that is not possible. */
  async function testGrader({ request, actor }: Asked, body: FormBody) {
    const parsed = requestOf(formOf(body));
    if (!body.try || !("request" in parsed) || !parsed.request.grader) return { tried: lastTest(body), problem: null };
    const { grader } = parsed.request;
    try {
      const { spec } = await planTrainJob(ctx, actor, parsed.request);
      const versionId = spec.kind === "train" ? spec.dataset.version_id : "";
      return { tried: await tryGrader(actor, grader, versionId, body.answer, request.signal), problem: null };
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      return { tried: null, problem: error.message };
    }
  }

  /** The new-job page for a posted form, with its plan and problems. */
  async function formPage(asked: Asked, body: FormBody, status: number) {
    const { request, actor } = asked;
    const { tried, problem } = await testGrader(asked, body);
    const page = await newJobProps(ctx, actor, formOf(body), null, body.start);
    const outcome = tried && { ...tried, data: body.data, grader: sha256Hex(formOf(body).grader), answer: body.answer };
    const props = {
      ...page,
      tried,
      outcome: JSON.stringify(outcome),
      problems: problem ? { grader: problem, ...page.problems } : page.problems,
    };
    return html(pageOf(ctx, request, actor), <NewJobPage {...props} />, {
      status: status === 422 && Object.keys(props.problems).length === 0 ? 200 : status,
      fragments: { "job-form": () => <NewJobFormView {...props} /> },
    });
  }

  /** Starts the job of a posted form. */
  async function startJob(asked: Asked, body: FormBody) {
    const parsed = requestOf(formOf(body));
    if ("problems" in parsed) return formPage(asked, body, 422);
    try {
      const job = await createTrainJob(ctx, asked.actor, parsed.request);
      return redirect(asked.request, `/jobs/${job.id}`, "Queued. The job keeps running when you close this page.");
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal" || !fieldOf(error.param)) throw error;
      return formPage(asked, body, 422);
    }
  }

  /** Continues with the settings of a posted form as a new sweep. */
  async function openSweep(asked: Asked, body: FormBody) {
    const parsed = requestOf(formOf(body));
    if ("problems" in parsed) return formPage(asked, body, 422);
    const training = encodeURIComponent(JSON.stringify(parsed.request));
    return redirect(asked.request, `/sweeps/new?training=${training}`);
  }

  return { formPage, startJob, openSweep };
}

const ActionParams = v.object({ ...Id.entries, act: v.picklist(["cancel", "pause", "resume", "checkpoint"]) });

/** @param ask runs a model as the user who tests a grader; passed in, because serving is a later area */
export const jobsPages = (ctx: Ctx, ask: AskAs) => {
  const form = formHandlers(ctx, ask);
  return new Elysia({ name: "jobs.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/jobs", (asked) => listPage(ctx, asked, asked.query), { query: ListQuery })
    .get("/jobs/new", (asked) => newPage(ctx, asked, asked.query), { query: NewQuery })
    .post("/jobs/plan", (asked) => form.formPage(asked, asked.body, 200), { body: JobFormBody })
    .post("/jobs", (asked) => form.startJob(asked, asked.body), { body: JobFormBody })
    .post("/jobs/sweep", (asked) => form.openSweep(asked, asked.body), { body: JobFormBody })
    .get("/jobs/compare", (asked) => comparePage(ctx, asked, asked.query), { query: CompareQuery })
    .post("/jobs/bulk", (asked) => bulk(ctx, asked, asked.body), { body: BulkForm })
    .post("/jobs/:id/edit", (asked) => editJob(ctx, asked, asked.params.id, asked.body), { params: Id, body: EditForm })
    .post("/jobs/:id/delete", (asked) => removeJob(ctx, asked, asked.params.id), { params: Id })
    .get("/jobs/:id", (asked) => jobPage(ctx, asked, asked.params.id, asked.query), { params: Id, query: JobQuery })
    .post("/jobs/:id/again", (asked) => runAgain(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/reproduce", (asked) => reproduce(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/continue", (asked) => continueRun(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/clear", (asked) => clearFiles(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/:act", (asked) => performAction(ctx, asked, asked.params.id, asked.params.act), {
      params: ActionParams,
    });
};
