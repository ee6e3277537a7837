/** Pages of jobs: the list, the new-job form with its plan, a job, and the comparison of runs. */

import { Elysia } from "elysia";
import * as v from "valibot";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import type { AskAs } from "../../../src/graders/judge.ts";
import { createTrying, type Tried } from "../../../src/graders/training.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { sha256Hex } from "../../../src/lib/ids.ts";
import { formatBytes, plural } from "../../../src/lib/text/format.ts";
import { cancelJob, checkpointNow, pauseJob, resumeJob } from "../../../src/training/jobs/service.ts";
import { clearRun } from "../../../src/training/plan/cleanup.ts";
import { continueJob, reproduceJob } from "../../../src/training/plan/reproduce.ts";
import { createTrainJob, planTrainJob, rerunJob } from "../../../src/training/plan/service.ts";
import { ComparePage, MAX_RUNS } from "./compare.tsx";
import { JobPage } from "./detail.tsx";
import { JobCheckpoints, JobSamples } from "./evidence.tsx";
import { fieldOf, formOf, JobFormBody, requestOf } from "./form.ts";
import { JobList, JobListPage } from "./list.tsx";
import { LogLines } from "./log.tsx";
import { NewJobFormView, NewJobPage } from "./new.tsx";
import { JobOutcome } from "./outcome.tsx";
import { compareProps, firstForm, jobProps, listProps, newJobProps } from "./page-data.ts";
import { JobUpdate } from "./update.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ListQuery = v.object({ q: text(100), state: text(40), kind: text(20), after: text(100) });
const NewQuery = v.object({ data: text(100), model: text(200), from: text(100), change: text(500) });
const JobQuery = v.object({ log: text(200), before: text(15) });
const CompareQuery = v.object({
  ids: v.optional(v.union([v.pipe(v.string(), v.maxLength(2000)), v.array(v.pipe(v.string(), v.maxLength(100)))]), ""),
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

/** The list of jobs. */
async function listPage(ctx: Ctx, { request, actor }: Asked, query: v.InferOutput<typeof ListQuery>) {
  const props = await listProps(ctx, actor, query);
  return html(pageOf(ctx, request, actor), <JobListPage {...props} />, {
    fragments: { "job-list": () => <JobList {...props} /> },
  });
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
  const props = await compareProps(ctx, actor, [...new Set(ids)], MAX_RUNS);
  return html(pageOf(ctx, request, actor), <ComparePage {...props} />);
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
      return redirect(asked.request, `/jobs/${job.id}`, "Queued. The job runs and goes on when you close this page.");
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
    .get("/jobs/:id", (asked) => jobPage(ctx, asked, asked.params.id, asked.query), { params: Id, query: JobQuery })
    .post("/jobs/:id/again", (asked) => runAgain(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/reproduce", (asked) => reproduce(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/continue", (asked) => continueRun(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/clear", (asked) => clearFiles(ctx, asked, asked.params.id), { params: Id })
    .post("/jobs/:id/:act", (asked) => performAction(ctx, asked, asked.params.id, asked.params.act), {
      params: ActionParams,
    });
};
