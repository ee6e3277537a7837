/** Pages of jobs: the list, a new one with its plan, one job with its curves, and runs beside each other. */

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
import { reproduceJob } from "../../../src/training/plan/reproduce.ts";
import { createTrainJob, planTrainJob, rerunJob } from "../../../src/training/plan/service.ts";
import { ComparePage, MOST_RUNS } from "./compare.tsx";
import { JobPage } from "./detail.tsx";
import { JobCheckpoints, JobSamples } from "./evidence.tsx";
import { fieldOf, formOf, JobFormBody, requestOf } from "./form.ts";
import { JobHistory } from "./history.tsx";
import { JobList, JobListPage } from "./list.tsx";
import { LogLines } from "./log.tsx";
import { NewJobFormView, NewJobPage } from "./new.tsx";
import { JobOutcome } from "./outcome.tsx";
import { compareProps, firstForm, jobProps, listProps, newJobProps } from "./page-data.ts";
import { JobStatusUpdate } from "./status.tsx";

const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const ListQuery = v.object({ q: text(100), state: text(40), kind: text(20), after: text(100) });
const NewQuery = v.object({ data: text(100), model: text(200), from: text(100), change: text(500) });
const JobQuery = v.object({ log: text(200), before: text(15) });
const CompareQuery = v.object({
  ids: v.optional(v.union([v.pipe(v.string(), v.maxLength(2000)), v.array(v.pipe(v.string(), v.maxLength(100)))]), ""),
});

const ACTS = {
  cancel: { act: cancelJob, done: "Cancelled. What was saved stays." },
  pause: { act: pauseJob, done: "Pausing: a checkpoint is saved first." },
  resume: { act: resumeJob, done: "Queued again; it goes on from its newest checkpoint." },
  checkpoint: { act: checkpointNow, done: "A checkpoint is saved after this step." },
} as const;

const LastTry = v.pipe(
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

/** What the last try showed, while nothing of it has changed. */
function lastTry(body: v.InferOutput<typeof JobFormBody>): Tried | null {
  const { success, output } = v.safeParse(LastTry, body.outcome);
  if (!success) return null;
  const same =
    output.data === body.data && output.grader === sha256Hex(formOf(body).grader) && output.answer === body.answer;
  return same ? { rowId: output.rowId, reward: output.reward, error: output.error } : null;
}

/** @param ask asks models as the person who tries a grader; handed in, because models are served further on */
export const jobsPages = (ctx: Ctx, ask: AskAs) => {
  const tryGrader = createTrying(ctx, ask);
  /** The grader of the form, tried on an answer to the first row; its problem where it cannot be. */
  const tryIn = async (request: Request, actor: Actor, body: v.InferOutput<typeof JobFormBody>) => {
    const parsed = requestOf(formOf(body));
    if (!body.try || !("request" in parsed) || !parsed.request.grader) return { tried: lastTry(body), problem: null };
    const { grader } = parsed.request;
    try {
      const { spec } = await planTrainJob(ctx, actor, parsed.request);
      const versionId = spec.kind === "train" ? spec.dataset.version_id : "";
      return { tried: await tryGrader(actor, grader, versionId, body.answer, request.signal), problem: null };
    } catch (error) {
      if (!(error instanceof AppError) || error.kind === "internal") throw error;
      return { tried: null, problem: error.message };
    }
  };

  /** The new-job page again, with problems where they are. */
  const formAgain = async (request: Request, actor: Actor, body: v.InferOutput<typeof JobFormBody>, status: number) => {
    const { tried, problem } = await tryIn(request, actor, body);
    const made = await newJobProps(ctx, actor, formOf(body), null, body.start);
    const outcome = tried && { ...tried, data: body.data, grader: sha256Hex(formOf(body).grader), answer: body.answer };
    const props = {
      ...made,
      tried,
      outcome: JSON.stringify(outcome),
      problems: problem ? { grader: problem, ...made.problems } : made.problems,
    };
    return html(pageOf(ctx, request, actor), <NewJobPage {...props} />, {
      status: status === 422 && Object.keys(props.problems).length === 0 ? 200 : status,
      fragments: { "job-form": () => <NewJobFormView {...props} /> },
    });
  };

  return new Elysia({ name: "jobs.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get(
      "/jobs",
      async ({ request, actor, query }) => {
        const props = await listProps(ctx, actor, query);
        return html(pageOf(ctx, request, actor), <JobListPage {...props} />, {
          fragments: { "job-list": () => <JobList {...props} /> },
        });
      },
      { query: ListQuery },
    )
    .get(
      "/jobs/new",
      async ({ request, actor, query }) => {
        const { form, from } = await firstForm(ctx, actor, query);
        const props = await newJobProps(ctx, actor, form, from);
        return html(
          pageOf(ctx, request, actor),
          <NewJobPage {...props} tried={null} outcome="" problems={from ? props.problems : {}} />,
        );
      },
      { query: NewQuery },
    )
    .post("/jobs/plan", ({ request, actor, body }) => formAgain(request, actor, body, 200), { body: JobFormBody })
    .post(
      "/jobs",
      async ({ request, actor, body }) => {
        const parsed = requestOf(formOf(body));
        if ("problems" in parsed) return formAgain(request, actor, body, 422);
        try {
          const job = await createTrainJob(ctx, actor, parsed.request);
          return redirect(request, `/jobs/${job.id}`, "Started. You can close this page; the job goes on.");
        } catch (error) {
          if (!(error instanceof AppError) || error.kind === "internal" || !fieldOf(error.param)) throw error;
          return formAgain(request, actor, body, 422);
        }
      },
      { body: JobFormBody },
    )
    .post(
      "/jobs/sweep",
      async ({ request, actor, body }) => {
        const parsed = requestOf(formOf(body));
        if ("problems" in parsed) return formAgain(request, actor, body, 422);
        return redirect(request, `/sweeps/new?training=${encodeURIComponent(JSON.stringify(parsed.request))}`);
      },
      { body: JobFormBody },
    )
    .get(
      "/jobs/compare",
      async ({ request, actor, query }) => {
        const ids = [query.ids]
          .flat()
          .flatMap((part) => part.split(","))
          .filter(Boolean);
        const props = await compareProps(ctx, actor, [...new Set(ids)], MOST_RUNS);
        return html(pageOf(ctx, request, actor), <ComparePage {...props} />);
      },
      { query: CompareQuery },
    )
    .get(
      "/jobs/:id",
      async ({ request, actor, params, query }) => {
        const props = await jobProps(ctx, actor, params.id, query);
        const { job, samples, checkpoints, log, logSearch, active } = props;
        return html(pageOf(ctx, request, actor), <JobPage {...props} />, {
          fragments: {
            "job-status": () => <JobStatusUpdate {...props} />,
            "job-outcome": () => <JobOutcome evaluation={props.evaluation} />,
            "job-samples": () => <JobSamples job={job} samples={samples} active={active} />,
            "job-checkpoints": () => <JobCheckpoints job={job} checkpoints={checkpoints} active={active} />,
            "job-history": () => <JobHistory job={job} history={props.history} />,
            "log-lines": () => <LogLines jobId={job.id} log={log} search={logSearch} active={active} />,
          },
        });
      },
      { params: Id, query: JobQuery },
    )
    .post(
      "/jobs/:id/again",
      async ({ request, actor, params }) => {
        const job = await rerunJob(ctx, actor, params.id);
        return redirect(request, `/jobs/${job.id}`, "Started again with the same settings.");
      },
      { params: Id },
    )
    .post(
      "/jobs/:id/reproduce",
      async ({ request, actor, params }) => {
        const job = await reproduceJob(ctx, actor, params.id);
        return redirect(
          request,
          `/jobs/${job.id}`,
          "The same frozen spec runs again; this page will say whether the losses are the same.",
        );
      },
      { params: Id },
    )
    .post(
      "/jobs/:id/clear",
      async ({ request, actor, params }) => {
        const { checkpoints, bytes, kept } = await clearRun(ctx, actor, params.id);
        const went = bytes
          ? `${plural(checkpoints, "checkpoint")} deleted, ${formatBytes(bytes)} freed.`
          : "Nothing was deleted.";
        const stays = kept.length ? ` In use, so it stays: ${kept.join(", ")}.` : "";
        return redirect(request, `/jobs/${params.id}`, went + stays);
      },
      { params: Id },
    )
    .post(
      "/jobs/:id/:act",
      async ({ request, actor, params }) => {
        const { act, done } = ACTS[params.act];
        try {
          await act(ctx, actor, params.id);
        } catch (error) {
          // The job moved on while the page was looked at: say so there.
          if (!(error instanceof AppError) || error.code !== "illegal_transition") throw error;
          return redirect(request, `/jobs/${params.id}`, { kind: "bad", text: error.message });
        }
        return redirect(request, `/jobs/${params.id}`, done);
      },
      { params: v.object({ ...Id.entries, act: v.picklist(["cancel", "pause", "resume", "checkpoint"]) }) },
    );
};
