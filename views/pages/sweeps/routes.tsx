/** Page routes of sweeps: the list, the form of a new sweep, and the page of one sweep. */

import { Elysia } from "elysia";
import * as v from "valibot";
import { creatorName } from "../../../src/accounts/organizations/creators.ts";
import type { Actor, Ctx } from "../../../src/ctx.ts";
import { AppError } from "../../../src/errors.ts";
import { html, pageOf, redirect } from "../../../src/http/html.ts";
import { session } from "../../../src/http/session.ts";
import { listed } from "../../../src/lib/page.ts";
import { plural } from "../../../src/lib/text/format.ts";
import { parseJsonText } from "../../../src/lib/text/json.ts";
import { wellFormedJson } from "../../../src/lib/text/well-formed.ts";
import { getJob } from "../../../src/training/jobs/store.ts";
import { readSeries } from "../../../src/training/metrics/service.ts";
import type { SweepPlan, SweepView } from "../../../src/training/sweeps/model.ts";
import { planSweep } from "../../../src/training/sweeps/plan.ts";
import {
  byScore,
  cancelSweep,
  createSweep,
  deleteSweep,
  getSweep,
  listSweeps,
} from "../../../src/training/sweeps/service.ts";
import { firstForm, formOf, requestOf, type SweepForm, SweepFormBody } from "./form.ts";
import { SweepList, SweepsPage } from "./list.tsx";
import { NewSweepFormView, NewSweepPage } from "./new.tsx";
import { SweepPage, SweepState } from "./show.tsx";

const PAGE = 25;
/** Most curves in a chart: the number of its colors. */
const CURVES = 6;
const Id = v.object({ id: v.pipe(v.string(), v.maxLength(100)) });
const text = (max: number) => v.optional(v.pipe(v.string(), v.maxLength(max)), "");

function isObject(value: string): boolean {
  try {
    const parsed = parseJsonText(value);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
  } catch {
    return false;
  }
}

const ListQuery = v.object({ after: text(100), q: text(100) });
/** A new sweep starts from the request of a job, or from a training request as JSON. */
const NewQuery = v.object({
  job: text(100),
  training: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(20_000),
      v.check((value) => value === "" || isObject(value), "is not a training request"),
    ),
    "",
  ),
});

/** The curves of the best trials so far. */
async function curvesOf(ctx: Ctx, view: SweepView) {
  const started = view.trials.filter((one) => one.job_id !== null).sort(byScore(view.direction));
  return Promise.all(
    started.slice(0, CURVES).map(async (one) => ({
      trial: one,
      series: await readSeries(ctx, one.job_id ?? "", { keys: [view.metric, "train/loss"], maxPoints: 500 }),
    })),
  );
}

interface RequestContext {
  request: Request;
  actor: Actor;
}

/** A form with its plan, or with validation messages. */
async function planForm(ctx: Ctx, actor: Actor, form: SweepForm) {
  const parsed = requestOf(form);
  if ("problems" in parsed) return { form, plan: null as SweepPlan | null, problems: parsed.problems };
  try {
    return { form, plan: await planSweep(ctx, actor, parsed.request), problems: {} };
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal") throw error;
    const control = error.param === "metric" ? "metric" : "";
    return { form, plan: null, problems: { [control]: error.message } as Record<string, string> };
  }
}

/** @param failure status of an answer with validation messages */
async function formPage(ctx: Ctx, { request, actor }: RequestContext, form: SweepForm, failure: number) {
  const props = await planForm(ctx, actor, form);
  return html(pageOf(ctx, request, actor), <NewSweepPage {...props} />, {
    status: Object.keys(props.problems).length ? failure : 200,
    fragments: { "sweep-form": () => <NewSweepFormView {...props} /> },
  });
}

async function listPage(ctx: Ctx, { request, actor }: RequestContext, query: v.InferOutput<typeof ListQuery>) {
  const page = { after: query.after, search: query.q, limit: PAGE };
  const rows = listed(await listSweeps(ctx, actor, page), PAGE);
  return html(pageOf(ctx, request, actor), <SweepsPage {...rows} />, {
    fragments: { sweeps: () => <SweepList {...rows} /> },
  });
}

async function newPage(ctx: Ctx, context: RequestContext, query: v.InferOutput<typeof NewQuery>) {
  if (!query.training && !query.job) return redirect(context.request, "/jobs/new");
  const given = query.job
    ? (await getJob(ctx, context.actor, query.job)).request
    : parseJsonText(wellFormedJson(query.training));
  // A sweep takes neither the name of the job nor the evaluation at its end.
  const { name: _name, suffix: _suffix, evaluate_after: _after, ...training } = given as Record<string, unknown>;
  return formPage(ctx, context, firstForm(training), 200);
}

async function create(ctx: Ctx, context: RequestContext, form: SweepForm) {
  const parsed = requestOf(form);
  if ("problems" in parsed) return formPage(ctx, context, form, 422);
  try {
    const made = await createSweep(ctx, context.actor, parsed.request);
    return redirect(context.request, `/sweeps/${made.id}`, "Sweep started. It continues when you close this page.");
  } catch (error) {
    if (!(error instanceof AppError) || error.kind === "internal" || error.kind === "not_found") throw error;
    return formPage(ctx, context, form, 422);
  }
}

async function sweepPage(ctx: Ctx, { request, actor }: RequestContext, id: string) {
  const sweep = await getSweep(ctx, actor, id);
  const curves = await curvesOf(ctx, sweep);
  const creator = await creatorName(ctx, sweep.created_by);
  return html(pageOf(ctx, request, actor), <SweepPage sweep={sweep} curves={curves} creator={creator} />, {
    fragments: { "sweep-state": () => <SweepState sweep={sweep} /> },
  });
}

async function cancel(ctx: Ctx, { request, actor }: RequestContext, id: string) {
  await cancelSweep(ctx, actor, id);
  return redirect(request, `/sweeps/${id}`, "Sweep canceled. Saved checkpoints stay.");
}

async function remove(ctx: Ctx, { request, actor }: RequestContext, id: string) {
  const { name } = await getSweep(ctx, actor, id);
  const { length } = await deleteSweep(ctx, actor, id);
  const stay = length > 0 ? ` ${plural(length, "job")} with a model or in use ${length === 1 ? "stays" : "stay"}.` : "";
  return redirect(request, "/sweeps", `“${name}” was deleted.${stay}`);
}

export const sweepsPages = (ctx: Ctx) =>
  new Elysia({ name: "sweeps.pages", seed: ctx.installation, detail: { hide: true } })
    .use(session(ctx))
    .get("/sweeps", (context) => listPage(ctx, context, context.query), { query: ListQuery })
    .get("/sweeps/new", (context) => newPage(ctx, context, context.query), { query: NewQuery })
    .post("/sweeps/plan", (context) => formPage(ctx, context, formOf(context.body), 200), { body: SweepFormBody })
    .post("/sweeps", (context) => create(ctx, context, formOf(context.body)), { body: SweepFormBody })
    .get("/sweeps/:id", (context) => sweepPage(ctx, context, context.params.id), {
      params: Id,
      query: v.object({ sort: text(40) }),
    })
    .post("/sweeps/:id/cancel", (context) => cancel(ctx, context, context.params.id), { params: Id })
    .post("/sweeps/:id/delete", (context) => remove(ctx, context, context.params.id), { params: Id });
